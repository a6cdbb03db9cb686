"""Hash of the weights that ranks hold alike, at steps that are the same on all ranks."""

from telemetry.capture.parameters.replica_hash import COLUMN, ReplicaHash
from telemetry.capture.steps.quantity import StepQuantity

QUANTITY = StepQuantity(id="replica_hash", columns=(COLUMN,), observer=ReplicaHash)
