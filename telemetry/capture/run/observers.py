"""The observers of steps that a recording has; those of quantities are found by their folder."""

import importlib
import pkgutil
from functools import cache

from telemetry.capture import quantities
from telemetry.capture.activations.probe import ProbeObserver
from telemetry.capture.gradients.provenance_observer import ProvenanceWatch
from telemetry.capture.nonfinite.observer import OriginObserver
from telemetry.capture.parameters.observer import ParameterObserver
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.steps.quantity import StepQuantity


@cache
def step_quantities() -> tuple[StepQuantity, ...]:
    """QUANTITY of every file of `quantities/`, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(quantities.__path__))
    modules = [importlib.import_module(f"{quantities.__name__}.{name}") for name in names]
    found: list[StepQuantity] = [module.QUANTITY for module in modules]
    return tuple(found)


def step_observers(around: Surroundings) -> tuple[StepObserver, ...]:
    """One of each, in the order in which they are told of a moment."""
    # Provenance comes first: the sample of the parameters names the clippings of their gradients.
    kinds: list[type[StepObserver]] = [ProvenanceWatch]
    kinds += [each.observer for each in step_quantities() if each.observer is not None]
    kinds += [OriginObserver]
    # Without an optimizer it reads the gradients when the step has ended, before the others do.
    kinds.insert(len(kinds) if around.optimizers else 0, ParameterObserver)
    if around.options.probe is not None:
        kinds.append(ProbeObserver)
    return tuple(kind(around) for kind in kinds)
