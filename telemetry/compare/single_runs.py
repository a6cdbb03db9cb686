"""One run against one run: what the curves tell, and what they cannot.

The fluctuation of the two curves bounds the error of each run's own final value, but not what
another seed would have given. That part is allowed for from above, so that only a difference no
seed explains is called one. The two shares below were fixed on 14 small real trainings (digits,
tables, text; with and without batch norm, dropout, label noise, schedules) of 12 seeds each: of all
4,004 pairs that differ by seed alone, 0.3 % came out as a regression.
"""

import math
from dataclasses import dataclass

import numpy as np

from telemetry.compare.align import SMOOTHED_FROM, WINDOW_SHARE, Floats, Series, paired
from telemetry.compare.bootstrap import bootstrap_error
from telemetry.compare.diff_result import Direction
from telemetry.compare.intervals import Estimate, combined_error

SEED_SHARE = 0.04  # seed deviation over the whole range of the metric; healthy runs 0.3-4 %
LATE_SHARE = 1.0  # seed deviation over the progress of the last quarter: curves come late or early
LATE_FROM = 0.75
RANGE_QUANTILES = (5, 95)  # of many points: a spike is no progress
FEWEST_PAIRS = 3
BOOTSTRAP_FROM = 10  # pairs in the final window


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleDifference:
    """Estimate of one run against another; `seed_allowance` is one run's, in the metric's unit."""

    estimate: Estimate
    seed_allowance: float
    n_pairs: int


def single_difference(
    base: Series, candidate: Series, direction: Direction
) -> SingleDifference | None:
    """Difference of the final values with an error that covers the curves' noise and the seed.

    Args:
        base: Up to the common horizon, with a finite final value.
        candidate: The same of the other run.
        direction: Which way is better; progress is counted that way.

    Returns:
        None when too few common points exist to see any noise.
    """
    steps, left, right = paired(base, candidate)
    if steps.size < FEWEST_PAIRS:
        return None
    difference = candidate.final() - base.final()
    if np.array_equal(left, right) and difference == 0:
        exact = Estimate(difference=0.0, standard_error=0.0)
        return SingleDifference(estimate=exact, seed_allowance=0.0, n_pairs=int(steps.size))
    start = steps[-1] - WINDOW_SHARE * (int(steps[-1] - steps[0]) + 1)
    window = steps > start
    smoothed = len(base.final_window()) > 1 and len(candidate.final_window()) > 1
    if smoothed and np.count_nonzero(window) >= BOOTSTRAP_FROM:
        error, block = bootstrap_error(left[window], right[window])
        df = max(1.0, np.count_nonzero(window) / block - 1)
    else:
        error, df = _fluctuation(right - left)
    allowance = seed_allowance(base, candidate, direction)
    total, joint_df = combined_error(error, df, math.sqrt(2) * allowance)
    return SingleDifference(
        estimate=Estimate(difference=difference, standard_error=total, df=joint_df),
        seed_allowance=allowance,
        n_pairs=int(steps.size),
    )


def seed_allowance(base: Series, candidate: Series, direction: Direction) -> float:
    """Upper bound of the standard deviation that seeds give to one run's final value."""
    both = (base, candidate)
    sign = 1 if direction is Direction.LOWER else -1
    ranges = [_range(series.values) for series in both]
    late = [max(0.0, sign * (series.around(LATE_FROM) - series.final())) for series in both]
    return max(
        SEED_SHARE * max(ranges),
        LATE_SHARE * max(late),
        resolution(np.concatenate([base.values, candidate.values])) / 2,
    )


def resolution(values: Floats) -> float:
    """Smallest gap between different finite values: one example in an accuracy; 0 if all agree."""
    distinct = np.unique(values[np.isfinite(values)])
    return float(np.diff(distinct).min()) if distinct.size > 1 else 0.0


def _range(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    ends = RANGE_QUANTILES if finite.size >= SMOOTHED_FROM else (0, 100)
    low, high = np.percentile(finite, ends)
    return float(high - low)


def _fluctuation(differences: Floats) -> tuple[float, float]:
    """Deviation of one point around the trend, from neighbours in the later half, and its df."""
    late = np.diff(differences[min(differences.size // 2, differences.size - FEWEST_PAIRS) :])
    return float(np.sqrt(np.mean(late**2) / 2)), float(late.size)
