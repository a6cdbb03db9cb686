"""Runs models: why does the trained network answer as it does? Needs torch; a process of its own.

from telemetry import explain
subject = explain.load(model="shop.net:build", checkpoint="best.pt", dataset="shop.data:valid")
evaluation = explain.evaluate(subject)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.explain.evaluation import Evaluation, evaluate
    from telemetry.explain.examples import ExampleSet
    from telemetry.explain.subject import Subject, load

_PUBLIC = {
    "Evaluation": "telemetry.explain.evaluation",
    "ExampleSet": "telemetry.explain.examples",
    "Subject": "telemetry.explain.subject",
    "evaluate": "telemetry.explain.evaluation",
    "load": "telemetry.explain.subject",
}

__all__ = ["Evaluation", "ExampleSet", "Subject", "evaluate", "load"]


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC})
