"""Square of the norm of one micro-batch's gradient."""

from telemetry.capture.gradients.micro_gradients import MicroGradients
from telemetry.capture.steps.quantity import StepQuantity

QUANTITY = StepQuantity(
    id="micro_gradients", columns=("micro_grad_sumsq",), observer=MicroGradients
)
