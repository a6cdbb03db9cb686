"""How often to sample: what recording may have cost by now, and the cadence that stays below it.

Pure functions of numbers. What should have been spent after t seconds, for an allowance of A
seconds and a budget share b, is

    allowed(t) = max(b * t, A * min(1, (b * t / A) ** (1/4)))

It never exceeds the promise max(A, b * t). The fourth root spends the allowance evenly over the
decades of time until b * t takes over (200 s at 2 s and 1 %): the first half second of a run is
observed at every step, and no later stretch is left blind because the allowance was burnt early.
"""

from collections.abc import Iterator
from dataclasses import dataclass

LADDER = (1, 2, 5)  # times powers of ten
LARGEST_CADENCE = 10_000_000
ALLOWANCE_EXPONENT = 0.25  # 1/2 would observe the first 5 s of a 1 ms/step loop 2.5 times less
SHRINK_MARGIN = 2.0  # a finer cadence must be affordable twice over, or the cadence would swing
SAVINGS_SPAN = 0.25  # of the elapsed time: over so much time what was saved is spent
# Of the promise, set aside for what recording costs outside of samples. Hashing of batches keeps to
# a quarter; it costs most at the beginning, when samples are needed most: more would starve them.
SET_ASIDE_LIMIT = 0.3
INSTANT_S = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Promise:
    """What the user was promised: cost <= max(allowance_s, budget_share * elapsed)."""

    allowance_s: float
    budget_share: float

    def limit_s(self, elapsed_s: float) -> float:
        """What recording costs at most after so many seconds."""
        return max(self.allowance_s, self.budget_share * elapsed_s)

    def allowed_s(self, elapsed_s: float) -> float:
        """What recording should have cost at most after so many seconds; at most the limit."""
        earned_s = self.budget_share * elapsed_s
        if earned_s >= self.allowance_s:
            return earned_s
        if not self.budget_share:
            return self.allowance_s
        return float(self.allowance_s * (earned_s / self.allowance_s) ** ALLOWANCE_EXPONENT)

    def rate(self, elapsed_s: float) -> float:
        """Growth of `allowed_s` at a moment, in seconds per second."""
        earned_s = self.budget_share * elapsed_s
        if earned_s >= self.allowance_s:
            return self.budget_share
        return ALLOWANCE_EXPONENT * self.allowed_s(elapsed_s) / max(elapsed_s, INSTANT_S)

    def share(self, part: float) -> "Promise":
        """A part of it."""
        return Promise(allowance_s=part * self.allowance_s, budget_share=part * self.budget_share)

    def for_samples(self, base_share: float) -> "Promise":
        """What is left of it for samples.

        Args:
            base_share: Of the time, what recording takes in every step.
        """
        if not self.budget_share:
            return self
        left = 1 - min(base_share / self.budget_share, SET_ASIDE_LIMIT)
        return Promise(allowance_s=self.allowance_s * left, budget_share=self.budget_share * left)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What a decision is made from; seconds of the training thread.

    Attributes:
        elapsed_s: Since recording began.
        cost_s: Spent on recording so far.
        step_s: One step without its recording.
        sample_s: What sampling adds to a step.
        base_s: Recording in a step that is not sampled.
    """

    elapsed_s: float
    cost_s: float
    step_s: float
    sample_s: float
    base_s: float

    @property
    def plain_step_s(self) -> float:
        """A step that is not sampled, its recording included."""
        return max(self.step_s + self.base_s, INSTANT_S)

    @property
    def base_share(self) -> float:
        """Share of the time that recording takes in every step."""
        return self.base_s / self.plain_step_s

    def samples_s(self, promise: Promise) -> float:
        """What has been spent of the samples' part of a promise."""
        net = promise.for_samples(self.base_share)
        return max(self.cost_s - (promise.budget_share - net.budget_share) * self.elapsed_s, 0.0)


def next_cadence(cadence: int, finest: int, spending: Spending, promise: Promise) -> int:
    """The finest cadence on the ladder whose samples can be kept up from here on.

    They may cost what `allowed_s` grows by, and what was saved is spent over a quarter of the time
    that has passed; a quarter of the growth is always theirs.

    Args:
        cadence: Steps between samples until now.
        finest: Steps between samples at the least.
        spending: Numbers of the decision.
        promise: What recording may cost.
    """
    elapsed_s = max(spending.elapsed_s, INSTANT_S)
    net = promise.for_samples(spending.base_share)
    growth = net.rate(elapsed_s)
    saved_s = net.allowed_s(elapsed_s) - spending.samples_s(promise)
    affordable = growth + saved_s / (SAVINGS_SPAN * elapsed_s)
    per_step_s = max(affordable, growth / 4, INSTANT_S) * spending.plain_step_s
    for candidate in ladder(finest):
        margin = SHRINK_MARGIN if candidate < cadence else 1.0
        if spending.sample_s * margin <= candidate * per_step_s:
            return candidate
    return LARGEST_CADENCE * finest


def ladder(finest: int) -> Iterator[int]:
    """Cadences from the finest on: 1, 2, 5, 10, 20, 50, … times it."""
    decade = 1
    while decade <= LARGEST_CADENCE:
        yield from (factor * decade * finest for factor in LADDER)
        decade *= 10
