"""What the runs at hand could have shown, and how many would show it."""

import math

from telemetry.compare.statistics.intervals import Estimate
from telemetry.compare.statistics.student import t_quantile
from telemetry.compare.statistics.verdicts import CLAIM_LEVEL

POWER = 0.8
MOST_REPLICATES = 50  # where the search for "how many seeds would settle it" gives up


def detectable(estimate: Estimate, margin: float) -> float:
    """Smallest true worsening that such data would be called a regression for in 80 % of trials.

    In the estimate's unit. Both conditions of a regression must hold: the test against zero and
    the estimate beyond the margin.
    """
    error = estimate.standard_error
    threshold = max(t_quantile(1 - CLAIM_LEVEL, estimate.df) * error, margin)
    return threshold + t_quantile(POWER, estimate.df) * error


def effect_size(estimate: Estimate) -> float:
    """Difference in standard deviations of one run's value; NaN where that is unknown or 0.

    Source: Hedges, Journal of Educational Statistics 1981, with the correction for few runs.
    """
    if not estimate.spread > 0:
        return math.nan
    df = estimate.df
    correction = 1.0 if math.isinf(df) else 1 - 3 / (4 * df - 1)
    return estimate.difference / estimate.spread * max(correction, 0.0)


def replicates_needed(estimate: Estimate, margin: float) -> int | None:
    """Runs per side with which the same difference would be told one way or the other.

    Args:
        estimate: The difference as measured, with the spread of one run.
        margin: Half-width of the zone of no change, in the estimate's unit.

    Returns:
        None when more than 50 would be needed.
    """
    distance = abs(estimate.difference)
    room = distance if distance > margin else margin - distance
    for n in range(2, MOST_REPLICATES + 1):
        error = _error_of(estimate, n)
        df = n - 1 if estimate.paired else 2 * n - 2
        if t_quantile(1 - CLAIM_LEVEL, df) * error <= room:
            return n
    return None


def _error_of(estimate: Estimate, n: int) -> float:
    """Standard error that n runs a side would have."""
    if estimate.paired:
        return estimate.standard_error * math.sqrt((estimate.df + 1) / n)
    return estimate.spread * math.sqrt(2 / n)
