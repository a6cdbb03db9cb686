"""How often to sample: what recording may have cost by now, and the cadence that stays below it.

Pure functions of numbers. For an allowance of A seconds and a budget share b, the user is promised
cost <= max(A, b * t) after t seconds. What should have been spent by then is less while A lasts:

    allowed(t) = max(b * t, A * (t / T) ** (1/6))    until T = A / b

The sixth root spends the allowance evenly over the decades of time until b * t takes over (200 s
at 2 s and 1 %): the first half second is observed at every step, and no later stretch is left
blind because the allowance was burnt early.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

LADDER = (1, 2, 5)  # times powers of ten
LARGEST_CADENCE = 10_000_000
# A loop of 1 ms a step and 4 ms a sample has 130 samples after 5 s; with a square root, 50.
ALLOWANCE_EXPONENT = 1 / 6
# Costs are foreseen until twice the elapsed time. Looking less far ahead spends what was saved in
# bursts of several times the budget.
HORIZON = 2.0
BLIND_SHARE = 0.25  # of the elapsed time: samples are no further apart while that is affordable
SHRINK_MARGIN = 2.0  # a finer cadence must be affordable this many times over
# Recording outside of samples that takes more of the promise than this is not made up for by the
# samples: a run must not go blind because its hooks alone are dear.
OTHERS_SHARE_LIMIT = 0.75
INSTANT_S = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What a decision is made from; seconds of the training thread.

    Attributes:
        elapsed_s: Since recording began.
        samples_s: Spent on samples so far.
        others_s: Spent on recording outside of samples so far.
        step_s: One step without its recording.
        sample_s: What sampling adds to a step.
        base_s: Recording in a step that is not sampled.
        allowance_s: May be spent in any case.
        budget_share: May be spent of the elapsed time.
    """

    elapsed_s: float
    samples_s: float
    others_s: float
    step_s: float
    sample_s: float
    base_s: float
    allowance_s: float
    budget_share: float

    @property
    def plain_step_s(self) -> float:
        """A step that is not sampled, its recording included."""
        return max(self.step_s + self.base_s, INSTANT_S)

    @property
    def takeover_s(self) -> float:
        """When the budget has earned the allowance; infinite without a budget."""
        return self.allowance_s / self.budget_share if self.budget_share else math.inf

    @property
    def remaining_s(self) -> float:
        """What samples may cost now without ever breaking max(allowance, budget * elapsed).

        What steps without a sample will cost until the budget takes over is set aside.
        """
        others_s = self.others_until_s(max(self.elapsed_s, self.takeover_s))
        promised_s = max(self.allowance_s, self.budget_share * self.elapsed_s)
        return promised_s - others_s - self.samples_s

    def for_samples_s(self, moment_s: float) -> float:
        """What samples should have cost at most by a moment."""
        if moment_s >= self.takeover_s:
            return self.budget_share * moment_s - self.others_until_s(moment_s)
        net_s = self.allowance_s - self.others_until_s(self.takeover_s)
        return allowed_s(moment_s, allowance_s=net_s, budget_share=net_s / self.takeover_s)

    def others_until_s(self, moment_s: float) -> float:
        """What all but samples will have cost by a moment, as far as samples make room for it."""
        ahead_s = moment_s - self.elapsed_s
        coming_s = self.base_s * (ahead_s / self.plain_step_s) if self.base_s else 0.0
        earned_s = self.budget_share * moment_s if self.budget_share else 0.0
        limit_s = OTHERS_SHARE_LIMIT * max(self.allowance_s, earned_s)
        return min(self.others_s + coming_s, limit_s)


def allowed_s(elapsed_s: float, *, allowance_s: float, budget_share: float) -> float:
    """What recording should have cost at most after so many seconds; never above the promise."""
    earned_s = budget_share * elapsed_s
    if earned_s >= allowance_s:
        return earned_s
    if not budget_share:
        return allowance_s
    return float(allowance_s * (earned_s / allowance_s) ** ALLOWANCE_EXPONENT)


def ladder(finest: int) -> Iterator[int]:
    """Cadences from the finest on: 1, 2, 5, 10, 20, 50, … times it."""
    decade = 1
    while decade <= LARGEST_CADENCE:
        yield from (factor * decade * finest for factor in LADDER)
        decade *= 10


def next_cadence(cadence: int, finest: int, spending: Spending) -> int:
    """The cadence from here on: the finest whose foreseen cost stays below what is allowed.

    A finer cadence than the present one must be affordable twice over, so that the cadence does
    not swing. Where the affordable cadence would leave more than a quarter of the elapsed time
    without a sample, a finer one is taken on account; where even a quarter cannot be kept up,
    samples are few, and are spread evenly over the decades of time.

    Args:
        cadence: Steps between samples until now.
        finest: Steps between samples at the least.
        spending: Numbers of the decision.
    """
    wanted_gap_s = BLIND_SHARE * spending.elapsed_s
    affordable_gap_s = lasting_gap_s(spending)
    if affordable_gap_s > wanted_gap_s:
        return _cadence_of_gap(affordable_gap_s, finest, spending, is_least=True)
    seeing = _cadence_of_gap(wanted_gap_s, finest, spending, is_least=False)
    return min(_affordable_cadence(cadence, finest, spending), seeing)


def _affordable_cadence(cadence: int, finest: int, spending: Spending) -> int:
    headroom_s = spending.for_samples_s(spending.elapsed_s * HORIZON) - spending.samples_s
    for candidate in ladder(finest):
        margin = SHRINK_MARGIN if candidate < cadence else 1.0
        if foreseen_s(candidate, spending) * margin <= headroom_s:
            return candidate
    return LARGEST_CADENCE * finest


def foreseen_s(cadence: int, spending: Spending) -> float:
    """Cost of the samples of a cadence from now until the horizon."""
    horizon_s = max(spending.elapsed_s * (HORIZON - 1), cadence * spending.step_s)
    sample_per_step_s = spending.sample_s / cadence
    return horizon_s / (spending.plain_step_s + sample_per_step_s) * sample_per_step_s


def _cadence_of_gap(gap_s: float, finest: int, spending: Spending, *, is_least: bool) -> int:
    """The cadence on the ladder whose samples are at most, or at least, so far apart."""
    below = finest
    for candidate in ladder(finest):
        if candidate * spending.plain_step_s + spending.sample_s > gap_s:
            return candidate if is_least else below
        below = candidate
    return below


def lasting_gap_s(spending: Spending) -> float:
    """The shortest time between samples that can be kept up.

    While the allowance lasts, samples at geometrically growing times t, g * t, g^2 * t, … until
    the budget takes over must cost no more than what remains of it, which gives the growth g.
    Afterwards a sample comes when it has been earned.
    """
    elapsed_s = max(spending.elapsed_s, INSTANT_S)
    left_s = spending.remaining_s
    if left_s < spending.sample_s:
        return _until_affordable_s(spending)
    if not spending.sample_s or not elapsed_s < spending.takeover_s < math.inf:
        return 0.0
    decades = math.log(spending.takeover_s / elapsed_s)
    return elapsed_s * math.expm1(decades * spending.sample_s / left_s)


def _until_affordable_s(spending: Spending) -> float:
    """Time from now until the budget has earned another sample."""
    others_share = min(
        spending.base_s / spending.plain_step_s, OTHERS_SHARE_LIMIT * spending.budget_share
    )
    net_share = spending.budget_share - others_share
    if net_share <= 0:
        return math.inf
    start_s = max(spending.takeover_s, spending.elapsed_s)
    owed_s = spending.samples_s + spending.sample_s - spending.for_samples_s(start_s)
    return start_s - spending.elapsed_s + max(owed_s, 0.0) / net_share
