"""Whether the loss of a model is one of another recorded model as well: an event, no column."""

from telemetry.capture.gradients.shared_losses import SharedLosses
from telemetry.capture.steps.quantity import StepQuantity

QUANTITY = StepQuantity(id="shared_losses", columns=(), observer=SharedLosses)
