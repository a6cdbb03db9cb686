"""A measured difference with its uncertainty, and the verdict that both allow."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.compare.diff_result import Direction, Verdict
from telemetry.compare.student import t_cdf, t_quantile

CONFIDENCE = 0.95
MOST_REPLICATES = 50  # where the search for "how many seeds would settle it" gives up


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Candidate minus base in the metric's own unit; `df` are degrees of freedom, maybe real."""

    difference: float
    standard_error: float
    df: float = math.inf

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """Two-sided interval of Student's t."""
        half = t_quantile(0.5 + confidence / 2, self.df) * self.standard_error
        return self.difference - half, self.difference + half

    def p_not_above(self, limit: float) -> float:
        """One-sided p value of the hypothesis that the true difference is at most `limit`."""
        distance = self.difference - limit
        if self.standard_error == 0:
            return float(distance <= 0)
        return 1.0 - t_cdf(distance / self.standard_error, self.df)

    def scaled(self, factor: float) -> "Estimate":
        """The same in another unit; a negative factor also turns the direction round."""
        return Estimate(
            difference=self.difference * factor,
            standard_error=self.standard_error * abs(factor),
            df=self.df,
        )


def replicates_difference(
    base: npt.NDArray[np.float64], candidate: npt.NDArray[np.float64], *, error_floor: float = 0.0
) -> Estimate:
    """Difference of two groups of runs, each run one replicate.

    Equal group sizes: Welch's and Student's standard errors agree, and Student's degrees of
    freedom hold the level where the spreads differ threefold (one-sided error 3.2 % measured at 3
    against 3, Welch 2.2 %) while four standard deviations are found in 93 % instead of 86 %.
    Unequal sizes: Welch. A single run has no spread of its own and borrows the other's.

    Args:
        base: One value a run, shape (n,), finite.
        candidate: The same for the other group; one of both must have at least two values.
        error_floor: Standard deviation that one value has at least, such as half the resolution
            of a metric that counts; two equal accuracies do not prove that seeds do not matter.

    Source: Welch, Biometrika 1947.
    """
    sizes = (base.size, candidate.size)
    spreads = [
        float(np.var(group, ddof=1)) if group.size > 1 else None for group in (base, candidate)
    ]
    known = [spread for spread in spreads if spread is not None]
    variances = [max(known[0] if s is None else s, error_floor**2) for s in spreads]
    parts = [variance / size for variance, size in zip(variances, sizes, strict=True)]
    total = sum(parts)
    if min(sizes) == 1:
        df = float(max(sizes) - 1)
    elif sizes[0] == sizes[1] or total == 0:
        df = float(sum(sizes) - 2)
    else:
        df = total**2 / sum(p**2 / (n - 1) for p, n in zip(parts, sizes, strict=True))
    difference = float(candidate.mean() - base.mean())
    return Estimate(difference=difference, standard_error=math.sqrt(total), df=df)


def combined_error(error: float, df: float, allowance: float) -> tuple[float, float]:
    """A measured standard error joined with one that is taken as known, and the joint df.

    Source: Satterthwaite, Biometrics 1946.
    """
    total = math.hypot(error, allowance)
    if error == 0:
        return total, math.inf
    return total, df * (total / error) ** 4


def holm(p_values: Sequence[float]) -> list[float]:
    """P values adjusted for their number, in the given order.

    Source: Holm, Scandinavian Journal of Statistics 1979.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = running
    return adjusted


def judge(estimate: Estimate, direction: Direction, margin: float) -> Verdict:
    """The verdict of the 95 % interval against plus and minus `margin`, in the estimate's unit."""
    low, high = estimate.interval()
    if -margin <= low and high <= margin:
        return Verdict.NO_CHANGE
    higher_is_better = direction is Direction.HIGHER
    if low > margin:
        return Verdict.IMPROVEMENT if higher_is_better else Verdict.REGRESSION
    if high < -margin:
        return Verdict.REGRESSION if higher_is_better else Verdict.IMPROVEMENT
    return Verdict.INCONCLUSIVE


def p_of_change(estimate: Estimate, margin: float) -> float:
    """Two-sided p value of "the change is within the margin"."""
    above, below = estimate.p_not_above(margin), estimate.scaled(-1.0).p_not_above(margin)
    return min(1.0, 2 * min(above, below))


def replicates_needed(estimate: Estimate, spread: float, margin: float) -> int | None:
    """Runs per side with which an interval around the same difference would clear the margin.

    Args:
        estimate: The difference as measured.
        spread: Standard deviation of one run's value.
        margin: Half-width of the zone of no change, in the estimate's unit.

    Returns:
        None when more than 50 would be needed.
    """
    room = abs(abs(estimate.difference) - margin)
    for n in range(2, MOST_REPLICATES + 1):
        if t_quantile(0.5 + CONFIDENCE / 2, 2 * n - 2) * spread * math.sqrt(2 / n) < room:
            return n
    return None
