"""Robust statistics of short, noisy series: medians, Theil-Sen slopes, noise of one step.

Pure functions over numpy arrays; NaN marks a missing value everywhere.
"""

import warnings

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

MAD_TO_STD = 1.4826  # of a Gaussian
MEDIAN_INEFFICIENCY = 1.25  # standard error of a median over that of a mean, Gaussian
ALL_PAIRS_LIMIT = 40  # positions up to which every pair of a slope is formed
TREND_POINTS = 120  # a trend over time needs no more points than this


def median(values: FloatArray) -> float:
    """Median of the values that are not NaN; NaN when there is none."""
    seen = values[~np.isnan(values)]
    return float(np.median(seen)) if seen.size else float("nan")


def row_medians(values: FloatArray) -> FloatArray:
    """Median of each row, shape (n_rows,), ignoring NaN; NaN for a row without values."""
    if not values.size:
        return np.full(values.shape[0], np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmedian(values, axis=1), dtype=np.float64)


def step_noise(values: FloatArray) -> float:
    """Standard deviation of one step's noise: 1.4826 MAD of the differences, over sqrt(2).

    Differences remove the trend, so a falling loss is not counted as noise.
    """
    change = np.diff(values[~np.isnan(values)])
    if not change.size:
        return 0.0
    spread = float(np.median(np.abs(change - np.median(change))))
    return MAD_TO_STD * spread / float(np.sqrt(2.0))


def slopes(profiles: FloatArray) -> FloatArray:
    """Theil-Sen slope of each row over its position: the median of the slopes of all pairs.

    Args:
        profiles: Shape (n_samples, n_positions), NaN where a position has no value. Rows longer
            than 40 positions use the pairs at least a third of the row apart: the long pairs
            decide, and the cost stays bounded.

    Returns:
        Shape (n_samples,); NaN for a row with fewer than two values.

    Source: Sen 1968, doi 10.1080/01621459.1968.10480934.
    """
    n_positions = profiles.shape[1]
    if n_positions < 2 or not profiles.shape[0]:  # noqa: PLR2004 - a slope needs two
        return np.full(profiles.shape[0], np.nan)
    apart = 1 if n_positions <= ALL_PAIRS_LIMIT else n_positions // 3
    first, second = np.triu_indices(n_positions, k=apart)
    return row_medians((profiles[:, second] - profiles[:, first]) / (second - first))


def trend(values: FloatArray) -> tuple[float, float]:
    """Theil-Sen slope per point of a series over time, and its z against no trend.

    z is Kendall's S in standard errors (Mann-Kendall); a long series is thinned first.

    Source: Mann 1945, doi 10.2307/1907187; Sen 1968.
    """
    seen = values[~np.isnan(values)]
    if seen.size > TREND_POINTS:
        block = seen.size // TREND_POINTS
        seen = np.median(seen[: block * TREND_POINTS].reshape(TREND_POINTS, block), axis=1)
    n = seen.size
    if n < 3:  # noqa: PLR2004 - two points have no residual
        return 0.0, 0.0
    first, second = np.triu_indices(n, k=1)
    change = seen[second] - seen[first]
    slope = float(np.median(change / (second - first)))
    variance = n * (n - 1) * (2 * n + 5) / 18
    return slope, float(np.sign(change).sum() / np.sqrt(variance))


def log2_positive(values: FloatArray) -> FloatArray:
    """log2 where the value is positive and finite, else NaN."""
    usable = np.isfinite(values) & (values > 0)
    return np.log2(np.where(usable, values, 1.0)) + np.where(usable, 0.0, np.nan)


def recent_medians(values: FloatArray, *, width: int, at_least: int, rise: float) -> FloatArray:
    """Median of the `width` values before each one, where that one stands out; else NaN.

    A value less than `rise` above the smallest of them is not looked at: medians cost, and it
    cannot be a jump.

    Args:
        values: Shape (n,); NaN is left out of medians.
        width: Values looked back at.
        at_least: Values that must be known among them.
        rise: Least distance to the smallest of them.
    """
    found = np.full(values.size, np.nan)
    padded = np.concatenate([np.full(width, np.inf), np.where(np.isnan(values), np.inf, values)])
    lowest = np.lib.stride_tricks.sliding_window_view(padded, width)[: values.size].min(axis=1)
    for place in np.flatnonzero(values >= lowest + rise):
        before = values[max(0, place - width) : place]
        before = before[~np.isnan(before)]
        if before.size >= at_least:
            found[place] = np.median(before)
    return found


def thinned(n: int, *, keep: int, head: int) -> IntArray:
    """At most `keep` of n positions: the first `head`, then evenly spaced up to the last."""
    if n <= keep:
        return np.arange(n, dtype=np.int64)
    rest = np.linspace(head, n - 1, keep - head)
    return np.unique(np.concatenate([np.arange(head), np.round(rest)]).astype(np.int64))
