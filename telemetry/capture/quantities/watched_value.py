"""What a scheduler that watches a value was given; `steps/schedulers.py` keeps it."""

from telemetry.capture.steps.quantity import StepQuantity

QUANTITY = StepQuantity(id="watched_value", columns=("watched_value",))
