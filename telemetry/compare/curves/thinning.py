"""Fewer points of a curve, taken so that other runs can be measured alike."""

from collections.abc import Collection
from dataclasses import replace
from itertools import pairwise

import numpy as np

from telemetry.compare.curves.align import Floats, Ints, Series

LEAST_FILLED = 0.9  # of the stretches that another run has passed, for it to be measured by them


def averaged(series: Series, most: int) -> Series:
    """At most `most` stretches: the mean of k points each, placed at the last of them.

    Means keep the precision of a noisy curve, which picked points would lose (decision 17). k is a
    power of two, so that runs of other lengths share stretches.
    """
    stride = _stride(len(series), most)
    if stride == 1:
        return series
    ends = np.append(np.arange(stride, len(series), stride), len(series))
    means = _means(series.values, [0, *ends.tolist()])
    return replace(series, steps=series.steps[ends - 1], values=means)


def averaged_as(series: Series, others: Collection[Series]) -> Series:
    """The curve in the stretches of averaged ones, so that both sides are measured alike.

    A final value over fifty means and one over five thousand points differ although the runs are
    equal. The curve stays whole where it has no point in a tenth of the stretches that it has
    passed: it is sparser than the averaged ones. What lies beyond their end is left out.
    """
    ends: Ints = np.unique(np.concatenate([other.steps for other in others]))
    places = np.searchsorted(series.steps, ends, side="right")
    edges = [0, *places.tolist()]
    filled = np.flatnonzero(np.diff(edges))
    passed = int(np.searchsorted(ends, series.steps[-1])) + 1
    if filled.size < LEAST_FILLED * min(passed, ends.size):
        return series
    means = _means(series.values, edges)
    steps = np.minimum(ends[filled], series.steps[-1])
    return replace(series, steps=steps, values=means[filled])


def picked(series: Series, most: int) -> Series:
    """Every k-th point from the first, k a power of two, and the last: values as they are."""
    stride = _stride(len(series), most)
    if stride == 1:
        return series
    kept = np.unique(np.append(np.arange(0, len(series), stride), len(series) - 1))
    return replace(series, steps=series.steps[kept], values=series.values[kept])


def _stride(n: int, most: int) -> int:
    stride = 1
    while -(-n // stride) > most:
        stride *= 2
    return stride


def _means(values: Floats, edges: list[int]) -> Floats:
    """Mean of the finite values between edges; NaN where most are not finite, or there is none."""
    return np.array([_mean(values[start:end]) for start, end in pairwise(edges)])


def _mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if 2 * finite.size > values.size else np.nan
