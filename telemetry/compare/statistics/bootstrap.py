"""Standard errors of autocorrelated curves: the stationary block bootstrap.

A loss curve's neighbours resemble each other, so its points must not be resampled one by one:
blocks of random length keep the resemblance, and their mean length comes from the curve itself.
"""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

RESAMPLES = 1_000
SEED = 20260102  # fixed: the same question gives the same answer
LONGEST_SERIES = 500  # longer windows are thinned to means of neighbours: memory, not accuracy
CORRELATION_LIMIT = 2.0  # in units of sqrt(log10(n) / n), as Politis and White recommend


def bootstrap_error(base: Floats, candidate: Floats) -> tuple[float, float]:
    """Standard error of the difference of two medians over paired points, and its block length.

    Args:
        base: Values at common steps, shape (n,), finite.
        candidate: Values at the same steps, shape (n,).

    Returns:
        The standard error, and the mean block length in points of the given series.

    Source: Politis and Romano, The stationary bootstrap, JASA 1994.
    """
    thinning = -(-base.size // LONGEST_SERIES)
    base, candidate = thin(base, thinning), thin(candidate, thinning)
    block = block_length(candidate - base)
    picks = stationary_indices(base.size, block, np.random.default_rng(SEED))
    differences = np.median(candidate[picks], axis=1) - np.median(base[picks], axis=1)
    return float(np.std(differences)), block * thinning


def mean_error(differences: Floats) -> tuple[float, float]:
    """Standard error of the mean of a correlated series of shape (n,), and its block length."""
    thinning = -(-differences.size // LONGEST_SERIES)
    series = thin(differences, thinning)
    block = block_length(series)
    picks = stationary_indices(series.size, block, np.random.default_rng(SEED))
    return float(np.std(series[picks].mean(axis=1))), block * thinning


def block_length(series: Floats) -> float:
    """Mean block length that the stationary bootstrap needs for a series of shape (n,), at least 1.

    Source: Politis and White, Econometric Reviews 2004, with the correction of Patton, Politis
    and White 2009.
    """
    n = series.size
    centred = series - series.mean()
    variance = float(centred @ centred) / n
    if n < 4 or variance <= 0:  # noqa: PLR2004 - no correlation can be read off three points
        return 1.0
    run = max(5, math.ceil(math.sqrt(math.log10(n))))
    lags = min(n - 1, math.ceil(math.sqrt(n)) + run)
    covariance = np.array([float(centred[k:] @ centred[: n - k]) / n for k in range(lags + 1)])
    last = _last_significant_lag(covariance / variance, n, run)
    reach = np.arange(-min(2 * last, lags), min(2 * last, lags) + 1)
    weight = np.clip(2 * (1 - np.abs(reach) / max(2 * last, 1)), 0, 1)
    weighted = weight * covariance[np.abs(reach)]
    slope, spectrum = float(np.abs(reach) @ weighted), float(weighted.sum())
    if spectrum <= 0:
        return 1.0
    best = (slope * slope / (spectrum * spectrum) * n) ** (1 / 3)
    return float(np.clip(best, 1.0, math.ceil(min(3 * math.sqrt(n), n / 3))))


def stationary_indices(n: int, block: float, generator: np.random.Generator) -> Indices:
    """Indices of `RESAMPLES` resamples of a circle of n points, shape (RESAMPLES, n)."""
    position = np.arange(n)
    jumps = generator.random((RESAMPLES, n)) < 1 / block
    jumps[:, 0] = True
    starts = generator.integers(0, n, size=(RESAMPLES, n))
    last_jump = np.maximum.accumulate(np.where(jumps, position, 0), axis=1)
    origin = np.take_along_axis(starts, last_jump, axis=1)
    return (origin + position - last_jump) % n


def thin(series: Floats, factor: int) -> Floats:
    """Means of `factor` neighbours; the points that do not fill the first group are left out."""
    if factor <= 1:
        return series
    whole = series.size // factor * factor
    groups = series[series.size - whole :].reshape(-1, factor)
    return np.asarray(groups.mean(axis=1), dtype=np.float64)


def _last_significant_lag(correlation: Floats, n: int, run: int) -> int:
    """The largest lag after which `run` correlations in a row are too small to tell from 0."""
    limit = CORRELATION_LIMIT * math.sqrt(math.log10(n) / n)
    significant = np.flatnonzero(np.abs(correlation[1:]) >= limit) + 1
    last = 0
    for lag in significant:
        if lag > last + run:
            break
        last = int(lag)
    return max(last, 1)
