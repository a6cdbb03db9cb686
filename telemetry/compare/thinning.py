"""Fewer points of a curve, chosen so that curves of other runs can be read at the same steps."""

from collections.abc import Collection

import numpy as np

from telemetry.compare.align import Ints, Series

LEAST_SHARED = 0.5  # of the kept steps that another run must have to be read at them alone


def thinned(series: Series, most: int) -> Series:
    """At most `most` points and the last one.

    Every k-th point from the first, k a power of two: curves of one cadence and other lengths keep
    common steps. Values stay as they are; a mean over stretches would hide what is best, and a
    replay would no longer equal its original.
    """
    stride = 1
    while -(-len(series) // stride) > most:
        stride *= 2
    if stride == 1:
        return series
    last = len(series) - 1
    kept = np.unique(np.append(np.arange(0, len(series), stride), last))
    return Series(steps=series.steps[kept], values=series.values[kept])


def at_steps_of(series: Series, others: Collection[Series]) -> Series:
    """The curve at the steps of thinned ones, so that both sides are measured alike.

    A final value over fifty points and one over five thousand differ although the runs are equal.
    The curve stays whole where it lacks half of the kept steps that it has passed: other cadences
    are compared as those of recorded runs are.
    """
    steps: Ints = np.unique(np.concatenate([other.steps for other in others]))
    kept = np.isin(series.steps, steps, assume_unique=True)
    passed = np.count_nonzero(steps <= series.steps[-1])
    if np.count_nonzero(kept) < max(1.0, LEAST_SHARED * passed):
        return series
    return Series(steps=series.steps[kept], values=series.values[kept])
