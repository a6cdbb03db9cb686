"""What an estimate allows to claim: worse, better, no change, or nothing.

A regression takes two things. The difference must be one (a one-sided test of "not worse"), and
the best guess of its size must exceed the margin, below which a change would not matter. Asking
that the whole 95 % interval lies beyond the margin is more than a reader asks: of regressions of
two standard deviations of a seed, five seeds a side would then show 25 to 77 %. "No change" is a
statement of its own, by two one-sided tests against the margin.

Source: Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987 (two one-sided tests).
Measured in benchmarks/compare/README.md; why so: docs/decisions/0016-a-claim-takes-two-things.md.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from telemetry.compare.statistics.intervals import Estimate
from telemetry.compare.terms import Direction, Verdict

# One-sided. Values over seeds are not normal (skewness up to 1 measured), and pairing is decided on
# the data: this leaves both room within the 5 % that are promised.
CLAIM_LEVEL = 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The verdict that an estimate comes nearest to, and the p value against it."""

    verdict: Verdict
    p: float

    @property
    def made(self) -> Verdict:
        """The verdict, or `inconclusive` where the data do not carry it."""
        return self.verdict if self.p <= CLAIM_LEVEL else Verdict.INCONCLUSIVE


def nearest_claim(estimate: Estimate, direction: Direction, margin: float) -> Claim:
    """A change in the direction that was measured if it exceeds the margin, else no change.

    Args:
        estimate: The measured difference.
        direction: Which way is better.
        margin: Change that matters, at least 0, in the estimate's unit.
    """
    if abs(estimate.difference) <= margin:
        p = max(estimate.p_not_above(-margin), estimate.p_not_below(margin))
        return Claim(verdict=Verdict.NO_CHANGE, p=0.0 if _exact(estimate) else p)
    rising = estimate.difference > 0
    p = estimate.p_not_above(0.0) if rising else estimate.p_not_below(0.0)
    better = rising == (direction is Direction.HIGHER)
    return Claim(verdict=Verdict.IMPROVEMENT if better else Verdict.REGRESSION, p=p)


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


def _exact(estimate: Estimate) -> bool:
    """Known without error, such as a replay: no test is needed."""
    return estimate.standard_error == 0
