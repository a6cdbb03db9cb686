"""Time that a step waited for the batches of a DataLoader."""

from telemetry.capture.data.waiting import DataWatch
from telemetry.capture.steps.quantity import StepQuantity

QUANTITY = StepQuantity(id="data_wait", columns=("data_s",), observer=DataWatch, is_sum=True)
