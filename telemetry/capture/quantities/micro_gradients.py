"""Square of the norm of one micro-batch's gradient."""

from telemetry.capture.gradients.accumulation import MICRO_GRAD_SUMSQ, MicroGradients
from telemetry.capture.steps.quantity import StepQuantity

QUANTITY = StepQuantity(id="micro_gradients", columns=(MICRO_GRAD_SUMSQ,), observer=MicroGradients)
