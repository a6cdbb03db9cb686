"""How often learning-rate schedulers were called after a step."""

from telemetry.capture.steps.quantity import StepQuantity
from telemetry.capture.steps.schedulers import ScheduleWatch

QUANTITY = StepQuantity(
    id="scheduler_calls", columns=("scheduler_calls",), observer=ScheduleWatch, otherwise=0
)
