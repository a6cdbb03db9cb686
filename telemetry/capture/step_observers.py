"""The observers of steps that every recording has; one line each."""

from telemetry.capture.data_watch import DataWatch
from telemetry.capture.micro_gradients import MicroGradients
from telemetry.capture.observe_origin import OriginObserver
from telemetry.capture.observe_probe import ProbeObserver
from telemetry.capture.parameter_watch import (
    HandUpdateWatch,
    NeverSteppedWatch,
    ParameterWatch,
)
from telemetry.capture.provenance_watch import ProvenanceWatch
from telemetry.capture.root_factors import RootFactors
from telemetry.capture.schedule_watch import ScheduleWatch
from telemetry.capture.shared_losses import SharedLosses
from telemetry.capture.stale_gradients import StaleGradients
from telemetry.capture.step_observer import StepObserver, Surroundings

# In the order in which they are told of a moment. Provenance first: the sample of the parameters
# names the clippings of their gradients.
OBSERVERS: tuple[type[StepObserver], ...] = (
    ProvenanceWatch,
    StaleGradients,
    MicroGradients,
    RootFactors,
    DataWatch,
    ScheduleWatch,
    OriginObserver,
    SharedLosses,
)


def step_observers(around: Surroundings) -> tuple[StepObserver, ...]:
    """One of each, that of the parameters, and the probe where there is one."""
    kinds: tuple[type[StepObserver], ...] = (*OBSERVERS, ParameterWatch, NeverSteppedWatch)
    if not around.optimizers:
        kinds = (HandUpdateWatch, *OBSERVERS)  # it reads the gradients when the step has ended
    if around.options.probe is not None:
        kinds = (*kinds, ProbeObserver)
    return tuple(kind(around) for kind in kinds)
