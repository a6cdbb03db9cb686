"""A series in a few characters: `█▅▃▂▁▁x`, in ASCII where the output knows no more."""

import math
from collections.abc import Sequence
from itertools import pairwise

BLOCKS = "▁▂▃▄▅▆▇█"
ASCII_LEVELS = "_.:-=+*#"
NAN, PLUS_INFINITY, MINUS_INFINITY, MISSING = "x", "^", "v", " "


def sparkline(
    values: Sequence[float | None],
    *,
    levels: str = BLOCKS,
    extremes: tuple[float, float] | None = None,
) -> str:
    """One character a value: its level between the finite extremes, or what it is instead.

    Args:
        values: The series; None where nothing was recorded.
        levels: Characters from low to high.
        extremes: Lowest and highest value, where several series share a scale.
    """
    finite = [value for value in values if value is not None and math.isfinite(value)]
    low, high = extremes or (min(finite, default=0.0), max(finite, default=0.0))
    return "".join(_character(value, low, high, levels) for value in values)


def _character(value: float | None, low: float, high: float, levels: str) -> str:
    if value is None:
        return MISSING
    if math.isnan(value):
        return NAN
    if math.isinf(value):
        return PLUS_INFINITY if value > 0 else MINUS_INFINITY
    # Halves first: the span of two finite extremes of a double may overflow.
    span = high / 2 - low / 2
    if span <= 0:
        return levels[0]
    position = (value / 2 - low / 2) / span
    return levels[max(0, min(len(levels) - 1, int(position * len(levels))))]


def condense(values: Sequence[float | None], width: int) -> list[float | None]:
    """At most `width` values: the mean of each stretch, or its first value that is not finite."""
    if len(values) <= width:
        return list(values)
    edges = [index * len(values) // width for index in range(width + 1)]
    return [_stretch(values[start:end]) for start, end in pairwise(edges)]


def _stretch(values: Sequence[float | None]) -> float | None:
    seen = [value for value in values if value is not None]
    broken = [value for value in seen if not math.isfinite(value)]
    if broken:
        return broken[0]
    return math.fsum(value / len(seen) for value in seen) if seen else None


def bar(share: float, *, width: int, character: str = "#") -> str:
    """A horizontal bar for a share in [0, 1]."""
    if not math.isfinite(share):
        return ""
    return character * round(min(max(share, 0.0), 1.0) * width)
