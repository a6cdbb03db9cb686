"""Tensors that the forward uses and that nobody trains; an event says which."""

from telemetry.capture.gradients.forgotten_leaves import COLUMN, ForgottenLeaves
from telemetry.capture.steps.quantity import StepQuantity

QUANTITY = StepQuantity(id="forgotten_leaves", columns=(COLUMN,), observer=ForgottenLeaves)
