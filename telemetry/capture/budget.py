"""The governor: measured cost of recording in, cadence of the samples out.

It keeps cost <= max(allowance, budget * elapsed) and spends the allowance so that no stretch of a
run stays unobserved (`cadence.py` decides, this module measures).
"""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from telemetry.capture.cadence import Spending, allowed_s, next_cadence
from telemetry.json_values import Json

# Of the last samples the dearest is foreseen again: the bound must hold. Of the last step times the
# shortest: an evaluation between two samples must not look like slow steps. Of the costs between
# samples the least: hashing of batches comes and goes, and keeps to a budget of its own.
N_REMEMBERED = 3
RETRIES = 10  # per cadence: a sample that could not be afforded, or is late, waits no longer
LATE_FACTOR = 2.0


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
        self._budget_share = budget_share
        self._allowance_s = allowance_s
        self._clock = clock
        self._started_s = clock()
        self._decided_step = -1
        self._is_sampled = False
        self._cost_before_step_s = 0.0
        self._window = (-1, 0.0, 0.0)  # step, elapsed and cost at the last decision
        self._sample_s: deque[float] = deque(maxlen=N_REMEMBERED)
        self._step_s: deque[float] = deque(maxlen=N_REMEMBERED)
        self._retry_every = self._finest
        self._is_late = False  # a sample was due and could not be afforded
        self._late_s = math.inf  # elapsed time from which a sample is overdue: steps became slower
        self._base_s: deque[float] = deque(maxlen=N_REMEMBERED)
        self._samples_s = 0.0

    @property
    def elapsed_s(self) -> float:
        """Seconds since recording began."""
        return self._clock() - self._started_s

    @property
    def overhead_share(self) -> float:
        """Share of the elapsed time that recording took on the training thread."""
        elapsed_s = self.elapsed_s
        return self.cost_s / elapsed_s if elapsed_s > 0 else 0.0

    @property
    def allowed_s(self) -> float:
        """What recording should have cost by now at most; infinite without a budget."""
        if self._budget_share is None:
            return math.inf
        return allowed_s(
            self.elapsed_s, allowance_s=self._allowance_s, budget_share=self._budget_share
        )

    def sampled(self, step: int) -> bool:
        """Whether a step is sampled; asked again for the same step, the answer is the same."""
        if step == self._decided_step:
            return self._is_sampled
        self._decided_step = step
        self._is_sampled = step % self._retry_every == 0 and self._is_due(step)
        return self._is_sampled

    def charge(self, seconds: float) -> None:
        """Add time that the training thread has just spent on recording."""
        self.cost_s += seconds

    def step_ended(self, step: int) -> CadenceChange | None:
        """Note the end of a step; says if the cadence is another from the next step on."""
        if step != self._decided_step or not self._is_sampled or self._budget_share is None:
            self._cost_before_step_s = self.cost_s
            return None
        elapsed_s = self.elapsed_s
        self._measure(step, elapsed_s)
        self._cost_before_step_s = self.cost_s
        before = self.cadence
        spending = self._spending(elapsed_s)
        self.cadence = next_cadence(before, self._finest, spending)
        self._retry_every = max(self._finest, self.cadence // RETRIES)
        step_s = spending.step_s + spending.base_s
        self._late_s = elapsed_s + LATE_FACTOR * self.cadence * step_s + spending.sample_s
        if self.cadence == before:
            return None
        return CadenceChange(
            step=step, before=before, after=self.cadence, cost_s=self.cost_s, elapsed_s=elapsed_s
        )

    def _is_due(self, step: int) -> bool:
        """A multiple of the cadence that can be afforded; else the first that can, once late."""
        if self._budget_share is None:
            return step % self.cadence == 0
        elapsed_s = self.elapsed_s
        if step % self.cadence and not self._is_late and elapsed_s < self._late_s:
            return False
        affordable = max(self._sample_s, default=0.0) <= self._spending(elapsed_s).remaining_s
        self._is_late = not affordable
        return affordable

    def _measure(self, step: int, elapsed_s: float) -> None:
        """What this window of steps, which ends with a sample, says about the costs."""
        last_step, last_elapsed_s, last_cost_s = self._window
        self._window = (step, elapsed_s, self.cost_s)
        n_steps = max(step - last_step, 1)
        in_last_step_s = self.cost_s - self._cost_before_step_s
        before_it_s = self.cost_s - last_cost_s - in_last_step_s
        if n_steps > 1:
            self._base_s.append(max(before_it_s, 0.0) / (n_steps - 1))
        if self._decided_step == step and self._is_sampled:
            sample_s = max(in_last_step_s - min(self._base_s, default=0.0), 0.0)
            self._sample_s.append(sample_s)
            self._samples_s += sample_s
        own_s = elapsed_s - last_elapsed_s - (self.cost_s - last_cost_s)
        self._step_s.append(max(own_s, 0.0) / n_steps)

    def _spending(self, elapsed_s: float) -> Spending:
        return Spending(
            elapsed_s=elapsed_s,
            samples_s=self._samples_s,
            others_s=self.cost_s - self._samples_s,
            step_s=min(self._step_s, default=0.0),
            sample_s=max(self._sample_s, default=0.0),
            base_s=min(self._base_s, default=0.0),
            allowance_s=self._allowance_s,
            budget_share=self._budget_share or 0.0,
        )
