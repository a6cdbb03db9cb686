"""The governor: measured cost of recording in, cadence of the samples out.

It keeps cost <= max(allowance, budget * elapsed) and spends the allowance so that no stretch of a
run stays unobserved (`cadence.py` decides, this module measures). Three things stand beside the
cadence. What the first sampled step costs is set-up, imports and allocations, and decides nothing.
The samples of the floor (`floor.py`) are taken whatever they cost, and others wait until they are
paid. Where the training changes (`changes.py`), a stretch is looked at closely, from a tenth of the
promise that is kept for it.
"""

import math
import statistics
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from telemetry.capture.budget.cadence import Promise, Spending, next_cadence
from telemetry.capture.budget.floor import PATTERN, SHORT_RUN, Floor
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
CLOSER_SHARE = 0.1  # of the promise, for looking closely where the training changes
CLOSER_DISTANCE = 128  # steps, and an eighth of those done: so often at most
CLOSER_GROWTH = 8


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
        return (
            f"sampling {every} instead of {before}: recording has taken {share:.1%} of the time "
            "so far"
        )

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
        total_steps: Planned steps of the run; None: not known.
        clock: Seconds that the training had, monotonic.

    Attributes:
        cadence: Steps between samples: a step is sampled if it is a multiple, so ranks share steps.
        cost_s: Seconds of the training thread spent on recording so far, without the set-up.
        set_up_s: Seconds that recording has taken until the end of the first sampled step.
    """

    def __init__(
        self,
        *,
        every: int | None,
        budget_share: float | None,
        allowance_s: float,
        total_steps: int | None = None,
        clock: Callable[[], float],
    ) -> None:
        self.cadence = every or 1
        self.cost_s = 0.0
        self.set_up_s = 0.0
        self._finest = self.cadence
        self._promise = (
            None
            if budget_share is None
            else Promise(allowance_s=allowance_s, budget_share=budget_share)
        )
        self._may_spend = self._promise is None or allowance_s > 0 or budget_share != 0
        self._floor = Floor(every=self._finest, total_steps=total_steps)
        self._clock = clock
        self._started_s = self._now_s = clock()
        self._decided_step = -1
        self._is_sampled = self._is_refused = self._is_closer = False
        self._is_set_up = False
        # Told by another thread: that the training has changed, looked at when a step begins.
        self._has_changed = False
        self._closer_from: int | None = None
        # At the last decision and before the step in progress: step, elapsed and cost.
        self._window = (-1, 0.0, 0.0)
        self._cost_before_step_s = 0.0
        self._sample_s: deque[float] = deque(maxlen=N_REMEMBERED)
        self._step_s: deque[float] = deque(maxlen=N_REMEMBERED)
        self._base_s: deque[float] = deque(maxlen=N_REMEMBERED)
        self._samples_s = 0.0
        self._closer_s = 0.0  # of those, samples of stretches looked at closely

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
        elapsed_s = self.elapsed_s + self.set_up_s
        return (self.set_up_s + self.cost_s) / elapsed_s if elapsed_s > 0 else 0.0

    @property
    def allowed_s(self) -> float:
        """What recording should have cost by now at most; infinite without a budget."""
        return math.inf if self._promise is None else self._promise.allowed_s(self.elapsed_s)

    @property
    def limit_s(self) -> float:
        """What recording was promised to have cost by now at most; infinite without a budget."""
        return math.inf if self._promise is None else self._promise.limit_s(self.elapsed_s)

    @property
    def may_sample(self) -> bool:
        """Whether anything may be sampled at all."""
        return self._may_spend

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
            if self._has_changed:
                self._look_closer(step)
            self._is_sampled = self._is_wanted(step)
        return self._is_sampled

    def training_has_changed(self) -> None:
        """Look closely at the steps that come, if there was no such stretch a short while ago."""
        self._has_changed = True

    def quiet_until(self, step: int) -> int:
        """The next step that may be sampled, or at which something is decided.

        Args:
            step: For which `sampled` was asked.
        """
        since = self._closer_from
        if self._is_refused or (since is not None and step - since < SHORT_RUN * self._finest):
            return step + 1
        return min(
            step + self.cadence - step % self.cadence,
            step + DECISION_EVERY - step % DECISION_EVERY,
            self._floor.after(step),
        )

    def quiet_step_ended(self, seconds: float) -> None:
        """A step before that one has ended, in which recording has cost so much."""
        self.cost_s += seconds
        self._cost_before_step_s = self.cost_s

    def charge(self, seconds: float) -> None:
        """Add time that the training thread has just spent on recording."""
        if not 0.0 <= seconds <= CREDIBLE_S:
            seconds = self._credible_s(seconds)
        self.cost_s += seconds

    def step_ended(self, step: int) -> CadenceChange | None:
        """Note the end of a step; says if the cadence is another from the next step on."""
        sampled = self._is_sampled and step == self._decided_step
        if sampled and not self._is_set_up:
            self._end_set_up(step)
            return None
        is_due = sampled or self._is_refused or step % DECISION_EVERY == 0
        if self._promise is None or not is_due:
            self._cost_before_step_s = self.cost_s
            return None
        elapsed_s = self.elapsed_s
        self._measure(step, elapsed_s, sampled=sampled)
        before = self.cadence
        regular = self._promise.share(1 - CLOSER_SHARE)
        self.cadence = next_cadence(before, self._finest, self._spending(elapsed_s), regular)
        if self.cadence == before:
            return None
        return CadenceChange(
            step=step, before=before, after=self.cadence, cost_s=self.cost_s, elapsed_s=elapsed_s
        )

    def _end_set_up(self, step: int) -> None:
        """Imports, allocations and caches: what the first sample takes tells nothing of others."""
        self._is_set_up = True
        before_s = self._window[2]  # of earlier attempts
        self.set_up_s = self.cost_s - before_s
        self.cost_s = self._cost_before_step_s = before_s
        self._started_s += self.set_up_s  # nor is it a time in which the run has earned samples
        self._window = (step, self.elapsed_s, before_s)

    def _is_wanted(self, step: int) -> bool:
        """Whether a step that begins is to be sampled."""
        is_of_floor = self._floor.has(step)
        self._is_refused = self._is_closer = False
        if not self._may_spend:
            return False
        if self._promise is None or is_of_floor:
            return is_of_floor or step % self.cadence == 0
        if step % self.cadence == 0:
            if self._is_affordable(closer=False):
                return True
            self._is_refused = True
        self._is_closer = self._is_in_closer(step) and self._is_affordable(closer=True)
        return self._is_closer

    def _look_closer(self, step: int) -> None:
        self._has_changed = False
        since = self._closer_from
        if since is None or step - since >= max(CLOSER_DISTANCE, step // CLOSER_GROWTH):
            self._closer_from = step

    def _is_in_closer(self, step: int) -> bool:
        since = self._closer_from
        if since is None or step - since >= SHORT_RUN * self._finest:
            return False
        return step % self._finest == 0 and (step - since) // self._finest in PATTERN

    def _credible_s(self, seconds: float) -> float:
        """Of a time that cannot be: a clock was set, or a machine slept during a sample."""
        if self._sample_s:
            seconds = min(seconds, CREDIBLE_FACTOR * max(self._sample_s))
        return max(seconds, 0.0)

    def _is_affordable(self, *, closer: bool) -> bool:
        """Whether a sample as dear as the dearest of the last ones keeps the promise."""
        if self._promise is None or not self._sample_s:
            return True
        elapsed_s = self.elapsed_s
        spending = self._spending(elapsed_s)
        promise = self._promise if closer else self._promise.share(1 - CLOSER_SHARE)
        net = promise.for_samples(spending.base_share)
        spent_s = spending.samples_s(promise) + (self._closer_share_s(elapsed_s) if closer else 0.0)
        return spent_s + max(self._sample_s) <= net.limit_s(elapsed_s)

    def _closer_share_s(self, elapsed_s: float) -> float:
        """What looking closely has cost of the part of the promise that is kept for it."""
        if self._promise is None:
            return 0.0
        return min(self._closer_s, CLOSER_SHARE * self._promise.limit_s(elapsed_s))

    def _counted_s(self, elapsed_s: float) -> float:
        """What counts against the promise: samples, and of the rest what makes room for them."""
        if self._promise is None:
            return self.cost_s
        limit_s = OTHERS_SHARE_LIMIT * self._promise.limit_s(elapsed_s)
        samples_s = self._samples_s - self._closer_share_s(elapsed_s)
        return samples_s + min(self.cost_s - self._samples_s, limit_s)

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
            if self._is_closer:
                self._closer_s += sample_s
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
