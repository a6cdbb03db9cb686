"""Steps of optimizers, and calls of `step()` whose gradients no optimizer uses."""

from telemetry.capture.gradients.unused_passes import (
    CALLS,
    EMPTY_STEPS,
    MOVED,
    OPTIMIZER_STEPS,
    UnusedPasses,
)
from telemetry.capture.steps.quantity import StepQuantity

QUANTITY = StepQuantity(
    id="optimizer_steps",
    columns=(OPTIMIZER_STEPS, EMPTY_STEPS, CALLS, MOVED),
    observer=UnusedPasses,
)
