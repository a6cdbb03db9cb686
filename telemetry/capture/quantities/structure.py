"""What the graph of a loss says: linear layers in a row, wrong axes, and views of the future."""

from telemetry.capture.steps.quantity import StepQuantity
from telemetry.capture.structure.watch import COLUMNS, StructureWatch

QUANTITY = StepQuantity(id="structure", columns=COLUMNS, observer=StructureWatch)
