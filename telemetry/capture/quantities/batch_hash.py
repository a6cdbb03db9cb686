"""Fingerprint of the batches of a step; `data/samples.py` hashes them as they enter the model."""

from telemetry.capture.steps.quantity import StepQuantity

QUANTITY = StepQuantity(id="batch_hash", columns=("batch_hash",), is_sum=True)
