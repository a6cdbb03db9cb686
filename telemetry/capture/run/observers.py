"""The observers of steps that every recording has; one line each."""

from telemetry.capture.activations.probe import ProbeObserver
from telemetry.capture.data.waiting import DataWatch
from telemetry.capture.gradients.micro_gradients import MicroGradients
from telemetry.capture.gradients.provenance_observer import ProvenanceWatch
from telemetry.capture.gradients.root_factors import RootFactors
from telemetry.capture.gradients.shared_losses import SharedLosses
from telemetry.capture.gradients.stale import StaleGradients
from telemetry.capture.nonfinite.observer import OriginObserver
from telemetry.capture.parameters.watch import HandUpdateWatch, NeverSteppedWatch, ParameterWatch
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.steps.schedulers import ScheduleWatch

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
