"""The governor: measured cost of recording in, cadence of the samples out.

It keeps cost <= max(allowance, budget * elapsed) and spends the allowance so that no stretch of a
run stays unobserved (`cadence.py` decides, this module measures).
"""

import math
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from telemetry.capture.budget.cadence import Promise, Spending, next_cadence
from telemetry.capture.steps.continuation import Continuation
from telemetry.json_values import Json

# Medians of few: one cold first sample must not decide, nor an evaluation between two steps.
N_REMEMBERED = 5
DECISION_EVERY = 64  # steps, also without a sample: steps may have become slower
# Of the promise: where recording outside of samples costs more, samples do not make room for it,
# or a run would go blind because its hooks are dear.
CREDIBLE_S = 60.0  # of one piece of recording; a longer one counts as so many of the dearest sample
CREDIBLE_FACTOR = 10.0
OTHERS_SHARE_LIMIT = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class CadenceChange:
    """A decision of the governor, as the run's `cadence` event tells it."""

    step: int
    before: int
    after: int
    cost_s: float
    elapsed_s: float

    def __str__(self) -> str:
        share = self.cost_s / self.elapsed_s if self.elapsed_s else 0.0
        every = "every step" if self.after == 1 else f"every {self.after} steps"
        before = "every step" if self.before == 1 else f"every {self.before}"
        return f"sampling {every}, before {before}: recording took {share:.1%} of the time so far"

    def payload(self) -> dict[str, Json]:
        """The numbers of the event."""
        return {
            "before": self.before,
            "after": self.after,
            "cost_s": self.cost_s,
            "elapsed_s": self.elapsed_s,
        }


class Governor:
    """Decides which steps are sampled.

    Args:
        every: The finest cadence in steps; None: every step as long as the budget allows.
        budget_share: What recording may cost of the elapsed time; None: no limit.
        allowance_s: Seconds that recording may cost in any case.
        clock: Monotonic seconds.

    Attributes:
        cadence: Steps between samples: a step is sampled if it is a multiple, so ranks share steps.
        cost_s: Seconds of the training thread spent on recording so far.
    """

    def __init__(
        self,
        *,
        every: int | None,
        budget_share: float | None,
        allowance_s: float,
        clock: Callable[[], float],
    ) -> None:
        self.cadence = every or 1
        self.cost_s = 0.0
        self._finest = self.cadence
        self._promise = (
            None
            if budget_share is None
            else Promise(allowance_s=allowance_s, budget_share=budget_share)
        )
        self._clock = clock
        self._started_s = self._now_s = clock()
        self._decided_step = -1
        self._is_sampled = False
        # At the last decision and before the step in progress: step, elapsed and cost.
        self._window = (-1, 0.0, 0.0)
        self._cost_before_step_s = 0.0
        self._sample_s: deque[float] = deque(maxlen=N_REMEMBERED)
        self._step_s: deque[float] = deque(maxlen=N_REMEMBERED)
        self._base_s: deque[float] = deque(maxlen=N_REMEMBERED)
        self._samples_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since recording began; stands still where the clock is set back."""
        now_s = self._clock()
        if now_s < self._now_s:
            self._started_s -= self._now_s - now_s
        self._now_s = now_s
        return now_s - self._started_s

    @property
    def overhead_share(self) -> float:
        """Share of the elapsed time that recording took on the training thread."""
        elapsed_s = self.elapsed_s
        return self.cost_s / elapsed_s if elapsed_s > 0 else 0.0

    @property
    def allowed_s(self) -> float:
        """What recording should have cost by now at most; infinite without a budget."""
        return math.inf if self._promise is None else self._promise.allowed_s(self.elapsed_s)

    @property
    def limit_s(self) -> float:
        """What recording was promised to have cost by now at most; infinite without a budget."""
        return math.inf if self._promise is None else self._promise.limit_s(self.elapsed_s)

    def go_on(self, at: Continuation) -> None:
        """Count on from there: the promise is about the run, not about one process life of it."""
        self._now_s = self._clock()
        self._started_s = self._now_s - at.elapsed_s
        self.cost_s = self._cost_before_step_s = at.cost_s
        if self._promise is not None:
            self._samples_s = min(at.cost_s, self._promise.limit_s(at.elapsed_s))
        self._window = (at.step - 1, at.elapsed_s, at.cost_s)
        self._decided_step = -1
        if at.cadence and at.cadence % self._finest == 0:
            self.cadence = at.cadence

    def sampled(self, step: int) -> bool:
        """Whether a step is sampled; asked again for the same step, the answer is the same."""
        if step != self._decided_step:
            self._decided_step = step
            self._is_sampled = step % self.cadence == 0 and self._is_affordable()
        return self._is_sampled

    def charge(self, seconds: float) -> None:
        """Add time that the training thread has just spent on recording."""
        if not 0.0 <= seconds <= CREDIBLE_S:
            seconds = self._credible_s(seconds)
        self.cost_s += seconds

    def step_ended(self, step: int) -> CadenceChange | None:
        """Note the end of a step; says if the cadence is another from the next step on."""
        sampled = self._is_sampled and step == self._decided_step
        if self._promise is None or not (sampled or step % DECISION_EVERY == 0):
            self._cost_before_step_s = self.cost_s
            return None
        elapsed_s = self.elapsed_s
        self._measure(step, elapsed_s, sampled=sampled)
        before = self.cadence
        self.cadence = next_cadence(before, self._finest, self._spending(elapsed_s), self._promise)
        if self.cadence == before:
            return None
        return CadenceChange(
            step=step, before=before, after=self.cadence, cost_s=self.cost_s, elapsed_s=elapsed_s
        )

    def _credible_s(self, seconds: float) -> float:
        """Of a time that cannot be: a clock was set, or a machine slept during a sample."""
        if self._sample_s:
            seconds = min(seconds, CREDIBLE_FACTOR * max(self._sample_s))
        return max(seconds, 0.0)

    def _is_affordable(self) -> bool:
        """Whether a sample as dear as the dearest of the last ones keeps the promise."""
        if self._promise is None:
            return True
        if not self._sample_s:
            return self._promise.allowance_s > 0 or self._promise.budget_share > 0
        elapsed_s = self.elapsed_s
        spending = self._spending(elapsed_s)
        net = self._promise.for_samples(spending.base_share)
        return spending.samples_s(self._promise) + max(self._sample_s) <= net.limit_s(elapsed_s)

    def _counted_s(self, elapsed_s: float) -> float:
        """What counts against the promise: samples, and of the rest what makes room for them."""
        if self._promise is None:
            return self.cost_s
        limit_s = OTHERS_SHARE_LIMIT * self._promise.limit_s(elapsed_s)
        return self._samples_s + min(self.cost_s - self._samples_s, limit_s)

    def _measure(self, step: int, elapsed_s: float, *, sampled: bool) -> None:
        """What the steps since the last decision say about the costs."""
        last_step, last_elapsed_s, last_cost_s = self._window
        in_last_step_s = self.cost_s - self._cost_before_step_s
        n_steps = max(step - last_step, 1)
        n_plain = n_steps - 1 if sampled else n_steps
        if n_plain:
            spent_s = self.cost_s - last_cost_s - (in_last_step_s if sampled else 0.0)
            self._base_s.append(spent_s / n_plain)
        if sampled:
            base_s = statistics.median(self._base_s) if self._base_s else 0.0
            sample_s = max(in_last_step_s - base_s, 0.0)
            self._sample_s.append(sample_s)
            self._samples_s += sample_s
        own_s = elapsed_s - last_elapsed_s - (self.cost_s - last_cost_s)
        self._step_s.append(max(own_s, 0.0) / n_steps)
        self._window = (step, elapsed_s, self.cost_s)
        self._cost_before_step_s = self.cost_s

    def _spending(self, elapsed_s: float) -> Spending:
        return Spending(
            elapsed_s=elapsed_s,
            cost_s=self._counted_s(elapsed_s),
            step_s=statistics.median(self._step_s) if self._step_s else 0.0,
            sample_s=statistics.median(self._sample_s) if self._sample_s else 0.0,
            base_s=statistics.median(self._base_s) if self._base_s else 0.0,
        )
