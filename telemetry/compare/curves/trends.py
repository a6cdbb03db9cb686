"""Two groups of curves in a few values on one grid: what a picture of them is drawn from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from telemetry.compare.curves.align import Floats, Series

POINTS = 48  # of a picture; a terminal shows no more

Values = tuple[float | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trend:
    """A metric's course: means over each side's runs, in equal stretches of the axis.

    Attributes:
        first: Where the first stretch begins.
        last: Where the last one ends.
        base: One value a stretch; None where no run has one.
        candidate: The same of the candidate.
    """

    first: float = math.nan
    last: float = math.nan
    base: tuple[float | None, ...] = ()
    candidate: tuple[float | None, ...] = ()


NO_TREND = Trend()


def trend(base: Sequence[Series], candidate: Sequence[Series]) -> Trend:
    """Means over the runs of both sides, in equal stretches of the axis.

    The grid spans the longest run, so that it shows where a shorter one ends, and has no more
    stretches than the densest run has points.

    Args:
        base: Curves of each run, along one axis.
        candidate: The same of the candidate.
    """
    curves = [series for series in (*base, *candidate) if len(series)]
    if not curves:
        return NO_TREND
    first = min(int(series.steps[0]) for series in curves)
    last = max(int(series.steps[-1]) for series in curves)
    n = min(POINTS, max(map(len, curves)))
    edges = np.linspace(first, last + 1, n + 1)  # the last point lies inside
    return Trend(first=first, last=last, base=_mean(base, edges), candidate=_mean(candidate, edges))


def _mean(side: Sequence[Series], edges: Floats) -> Values:
    """Over the runs that have a value, stretch by stretch."""
    rows = [_stretches(series, edges) for series in side if len(series)]
    columns = zip(*rows, strict=True) if rows else [()] * (edges.size - 1)
    return tuple(_typical([value for value in column if value is not None]) for column in columns)


def _stretches(series: Series, edges: Floats) -> Values:
    """Mean within each stretch; where there is no point, a line to the neighbours, or nothing."""
    places = np.searchsorted(series.steps, edges)
    centres = (edges[:-1] + edges[1:] - 1) / 2  # of the whole steps within
    return tuple(
        _typical(series.values[start:end]) if end > start else _between(series, centre)
        for (start, end), centre in zip(pairwise(places.tolist()), centres.tolist(), strict=True)
    )


def _typical(values: Sequence[float] | Floats) -> float | None:
    """Mean of the finite values, the first where none is finite, None where there is none."""
    found = np.asarray(values, dtype=np.float64)
    finite = found[np.isfinite(found)]
    if finite.size:
        return float(finite.mean())
    return float(found[0]) if found.size else None


def _between(series: Series, place: float) -> float | None:
    after = int(np.searchsorted(series.steps, place))
    if not 0 < after < len(series):
        return None
    left, right = series.values[after - 1], series.values[after]
    share = (place - series.steps[after - 1]) / (series.steps[after] - series.steps[after - 1])
    value = float(left + share * (right - left))
    return value if math.isfinite(value) else math.nan
