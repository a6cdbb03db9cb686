"""Share of gradients that nobody had cleared before the step added to them."""

from telemetry.capture.gradients.stale import StaleGradients
from telemetry.capture.steps.quantity import StepQuantity

QUANTITY = StepQuantity(
    id="stale_gradients", columns=("stale_grad_share",), observer=StaleGradients
)
