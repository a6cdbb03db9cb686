"""The observers of steps that every recording has; one line each."""

from telemetry.capture.micro_gradients import MicroGradients
from telemetry.capture.stale_gradients import StaleGradients
from telemetry.capture.step_observer import StepObserver, Surroundings

OBSERVERS: tuple[type[StepObserver], ...] = (
    StaleGradients,
    MicroGradients,
)


def step_observers(around: Surroundings) -> tuple[StepObserver, ...]:
    """One of each, in the order in which they are told of a moment."""
    return tuple(observer(around) for observer in OBSERVERS)
