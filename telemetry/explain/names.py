"""Names in messages: of layers that a user gives, and of what a value is."""

import difflib
from collections.abc import Iterable

from telemetry.errors import UsageError

MOST_NAMES = 8  # of an error


def kind_of(value: object) -> str:
    """`a Tensor`, `an int`, `None`."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"an {name}" if name[0] in "aeioAEIO" else f"a {name}"


def known(what: str, name: str, names: Iterable[str]) -> str:
    """The name, which is one of those there are.

    Raises:
        UsageError: it is not; up to eight are named, the closest first.
    """
    there = list(names)
    if name in there:
        return name
    close = difflib.get_close_matches(name, there, MOST_NAMES, 0.6)
    shown = list(dict.fromkeys([*close, *there]))[:MOST_NAMES]
    more = ", ..." if len(shown) < len(there) else "."
    raise UsageError(f"the model has no {what} {name!r}; there are {', '.join(shown)}{more}")
