"""Runs models: why does the trained network answer as it does? Needs torch; a process of its own.

from telemetry import explain
subject = explain.load(model="shop.net:build", checkpoint="best.pt", dataset="shop.data:valid")
evaluation = explain.evaluate(subject)
perturbation = explain.perturb(subject, "4711", "brightness")
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.explain.evaluation import Evaluation, evaluate
    from telemetry.explain.examples import ExampleSet
    from telemetry.explain.perturbation import perturb, perturb_all
    from telemetry.explain.reduction import reduce
    from telemetry.explain.subject import Subject, load
    from telemetry.explain.training_coverage import coverage

_PUBLIC = {
    "Evaluation": "telemetry.explain.evaluation",
    "ExampleSet": "telemetry.explain.examples",
    "Subject": "telemetry.explain.subject",
    "coverage": "telemetry.explain.training_coverage",
    "evaluate": "telemetry.explain.evaluation",
    "load": "telemetry.explain.subject",
    "perturb": "telemetry.explain.perturbation",
    "perturb_all": "telemetry.explain.perturbation",
    "reduce": "telemetry.explain.reduction",
}

__all__ = [
    "Evaluation",
    "ExampleSet",
    "Subject",
    "coverage",
    "evaluate",
    "load",
    "perturb",
    "perturb_all",
    "reduce",
]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
