"""Judges stored results of trained models: paired comparisons, slices, hypotheses, folds.

No torch: what ran a model wrote tables, this reads them.

from telemetry import Store, evaluate
store = Store.open()
evaluate.slices.find(store, evaluate.slices.SlicedRun(run=store.select("latest"))).answer
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from telemetry.evaluate.cross_validation import comparison as crossval
    from telemetry.evaluate.hypothesis_testing import comparison as hypotheses
    from telemetry.evaluate.slicing import slices
    from telemetry.evaluate.statistics import paired

__all__ = ["crossval", "hypotheses", "paired", "slices"]

_MODULES = {
    "crossval": "cross_validation.comparison",
    "hypotheses": "hypothesis_testing.comparison",
    "paired": "statistics.paired",
    "slices": "slicing.slices",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{_MODULES[name]}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
