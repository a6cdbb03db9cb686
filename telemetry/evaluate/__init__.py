"""Judges stored results of trained models: paired comparisons, slices, hypotheses, folds.

No torch: what ran a model wrote tables, this reads them.
"""

from importlib import import_module

__all__ = ["crossval", "hypotheses", "paired", "slices"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(f"{__name__}.{name}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
