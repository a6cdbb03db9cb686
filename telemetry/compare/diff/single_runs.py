"""One run against one run: what the curves tell, and what they cannot.

The fluctuation of the two curves bounds the error of each run's own final value, but not what
another seed would have given. That part is allowed for from above, so that only a difference no
seed explains is called one. The two shares below were fixed on 14 small real trainings (digits,
tables, text; with and without batch norm, dropout, label noise, schedules) of 12 seeds each: of all
4,004 pairs that differ by seed alone, 0.3 % came out as a regression.

Two runs of equal seeds that still rise and fall together have not parted: what the seed gave one of
them it gave the other, too. The allowance then counts for the share that is their own, as the
variance of a difference of correlated values does.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from telemetry.compare.curves.align import Floats, Series, common_horizon, common_start, paired
from telemetry.compare.statistics.bootstrap import bootstrap_error, mean_error
from telemetry.compare.statistics.intervals import Estimate, combined_error
from telemetry.compare.terms import Direction
from telemetry.format.run_loss import WINDOW_SHARE
from telemetry.format.smoothing import SMOOTHED_FROM

SEED_SHARE = 0.04  # seed deviation over the whole range of the metric; healthy runs 0.3-4 %
LATE_SHARE = 1.0  # seed deviation over the progress of the last quarter: curves come late or early
LATE_FROM = 0.75
RANGE_QUANTILES = (5, 95)  # of many points: a spike is no progress
FEWEST_PAIRS = 3
FEWEST_STEPS = 5  # from point to point, from which two curves' likeness is read
BOOTSTRAP_FROM = 10  # pairs in the final window


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleDifference:
    """Estimates of one run against another, and what their errors are made of.

    `noise` is the standard error that the curves' fluctuation gives to the difference of the final
    values, `seed_allowance` the standard deviation that is allowed to one run's seed, both in the
    metric's unit.
    """

    final: Estimate
    best: Estimate
    area: Estimate
    noise: float
    seed_allowance: float


def single_difference(
    base: Series, candidate: Series, direction: Direction, *, same_seed: bool = False
) -> SingleDifference | None:
    """Differences of final value, best value and area, with errors that cover noise and seed.

    The best value is a mean over a window as long as the final one, so its noise is taken to be
    that of the final value.

    Args:
        base: Up to the common horizon, with a finite final value.
        candidate: The same of the other run.
        direction: Which way is better; progress is counted that way.
        same_seed: Whether both started from the same seed.

    Returns:
        None when too few common points exist to see any noise.
    """
    steps, left, right = paired(base, candidate)
    if steps.size < FEWEST_PAIRS:
        return None
    final = candidate.final() - base.final()
    if np.array_equal(left, right) and final == 0:
        exact = Estimate(difference=0.0, standard_error=0.0)
        return SingleDifference(final=exact, best=exact, area=exact, noise=0.0, seed_allowance=0.0)
    error, df = _final_error(base, candidate)
    allowance = seed_allowance(base, candidate, direction)
    if same_seed:
        floor = resolution(np.concatenate([base.values, candidate.values])) / 2
        allowance = max(floor, allowance * math.sqrt(own_share(left, right)))
    ends = common_start([base, candidate]), common_horizon([base, candidate])
    best = candidate.best(direction) - base.best(direction)
    area = candidate.area(*ends) - base.area(*ends)
    return SingleDifference(
        final=replace(_joined(final, error, df, allowance), paired=same_seed),
        best=_joined(best, error, df, allowance),
        area=_joined(area, *_area_error(left, right), allowance),
        noise=error,
        seed_allowance=allowance,
    )


def _joined(difference: float, error: float, df: float, allowance: float) -> Estimate:
    total, joint_df = combined_error(error, df, math.sqrt(2) * allowance)
    return Estimate(difference=difference, standard_error=total, df=joint_df)


def _final_error(base: Series, candidate: Series) -> tuple[float, float]:
    """Standard error of the difference of the final values, and its degrees of freedom."""
    steps, left, right = paired(base, candidate)
    window = steps > steps[-1] - WINDOW_SHARE * (int(steps[-1] - steps[0]) + 1)
    smoothed = len(base.final_window()) > 1 and len(candidate.final_window()) > 1
    n = int(np.count_nonzero(window))
    if smoothed and n >= BOOTSTRAP_FROM:
        if base.of_batches:
            error, block = mean_error(right[window] - left[window])
        else:
            error, block = bootstrap_error(left[window], right[window])
        return error, max(1.0, n / block - 1)
    return _fluctuation(right - left)


def _area_error(left: Floats, right: Floats) -> tuple[float, float]:
    """The same of the mean difference of n paired points."""
    n = left.size
    if n < SMOOTHED_FROM:
        error, df = _fluctuation(right - left)
        return error / math.sqrt(n), df
    error, block = mean_error(right - left)
    return error, max(1.0, n / block - 1)


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


def own_share(left: Floats, right: Floats) -> float:
    """Share of two curves' fluctuation that they do not have in common, in [0, 1].

    Over the later half of n paired values, from point to point: 0 where the curves run in
    parallel, 1 where they have nothing in common, and where too few points tell.
    """
    half = left.size // 2
    first, second = np.diff(left[half:]), np.diff(right[half:])
    total = float(first @ first + second @ second)
    if first.size < FEWEST_STEPS or total == 0:
        return 1.0
    own = first - second
    return min(1.0, float(own @ own) / total)


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
