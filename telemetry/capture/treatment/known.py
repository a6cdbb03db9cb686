"""The remedies that there are: found by looking into their folder."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache

from telemetry.capture import remedies
from telemetry.capture.remedy import Dose, Remedy
from telemetry.errors import UsageError


@cache
def all_remedies() -> Mapping[str, Remedy]:
    """REMEDY of every file of `remedies/`, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(remedies.__path__))
    modules = (importlib.import_module(f"{remedies.__name__}.{name}") for name in names)
    found: list[Remedy] = [module.REMEDY for module in modules]
    return {remedy.id: remedy for remedy in found}


def remedy_of(dose: Dose) -> Remedy:
    """The remedy of a dose.

    Raises:
        UsageError: there is none of that name, or it takes no such value.
    """
    known = all_remedies()
    if dose.name not in known:
        raise UsageError(f"there is no remedy {dose.name!r}; remedies: {', '.join(known)}.")
    known[dose.name].check(dose)
    return known[dose.name]
