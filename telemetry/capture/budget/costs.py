"""What recording one run costs the training thread: of samples, of hashing, of the present step."""

import logging
import statistics
from collections import deque
from dataclasses import replace

from telemetry.capture.budget.clocks import Clocks
from telemetry.capture.budget.governor import CadenceChange, Governor
from telemetry.capture.budget.hash_purse import HASH_SHARE, HashPurse
from telemetry.capture.environment.peak_memory import peak_memory
from telemetry.capture.isolation.meter import Exactly, Meter
from telemetry.capture.steps.continuation import Continuation
from telemetry.capture.steps.options import Options
from telemetry.json_values import Json

logger = logging.getLogger(__name__)

# Hooks of steps that are not sampled are timed by the clock on the wall, which is cheap and goes on
# while the thread waits for a core. So one such step in sixteen is timed by processor time, and the
# others count as at most four times as much as those: some milliseconds of waiting are left out.
EXACT_EVERY, EXACT_PHASE = 16, 7
N_EXACT = 5  # their median
LEAST_LIMIT_S = 0.0005
LIMIT_FACTOR = 4.0


class Costs:
    """The governor of the samples, the purse of hashing, and what both have spent.

    Args:
        options: What recording may cost.
        clocks: Say what it costs.
        dispatch_s: Seconds of the way to one hook and back.

    Attributes:
        governor: Decides which steps are sampled.
        purse: What hashing the batches may cost.
        meter: Times whatever the training runs of telemetry.
        every: The cadence that was asked for; None: none was.
        first_step: Where this process has begun to count.
        n_steps: That have ended since.
        n_samples: Those of them that were sampled.
    """

    def __init__(self, options: Options, clocks: Clocks, *, dispatch_s: float = 0.0) -> None:
        budget = options.overhead_budget
        self.governor = Governor(
            every=options.every,
            budget_share=None if budget is None else (1 - HASH_SHARE) * budget,
            allowance_s=(1 - HASH_SHARE) * options.overhead_allowance_s,
            total_steps=options.total_steps,
            clock=clocks.unhindered,
        )
        self.purse = HashPurse(self.governor)
        self.meter = Meter(clocks.wall, processor=clocks.processor, dispatch_s=dispatch_s)
        self._options = options
        self.every = options.every
        self.first_step = self.n_steps = self.n_samples = 0
        self._wall = clocks.wall
        self._started_s = clocks.wall()
        self._is_refusal_told = False
        self._hashing_s = 0.0  # of the step in progress
        self._is_sampled = False
        self._looked_from_s = self._looked_s = 0.0  # at evaluations, in the step in progress
        self._evaluations_s = 0.0
        self._plain_s: deque[float] = deque(maxlen=N_EXACT)  # steps without a sample, exact
        self._usual_s = 0.0  # their median
        self._limit_s = LEAST_LIMIT_S  # of a step that is neither sampled nor exact

    @property
    def total_s(self) -> float:
        """Seconds of processor time that recording has taken the training thread so far."""
        governor = self.governor
        spent_s = governor.set_up_s + governor.cost_s + self.purse.cost_s
        return spent_s + self._evaluations_s + self.meter.spent_s

    @property
    def share(self) -> float:
        """Its share of the time that the training thread had."""
        return self.total_s / max(self.governor.elapsed_s + self.governor.set_up_s, 1e-9)

    def summary(self) -> dict[str, Json]:
        """For the summary of the run."""
        return {
            "overhead_share": self.share,
            "overhead_s": self.total_s,
            "cadence": self.governor.cadence,
            "every": self._options.every,
            **peak_memory(),
        }

    def step_ended(self, step: int) -> CadenceChange | None:
        """Note the end of a step; says if the cadence is another from the next step on."""
        change = self.governor.step_ended(step)
        if change is not None and not self._is_refusal_told:
            self._tell_refusal(change)
        return change

    def _tell_refusal(self, change: CadenceChange) -> None:
        """That the budget forbids the cadence that was asked for, once."""
        asked, budget = self._options.every, self._options.overhead_budget
        if asked is None or change.after <= asked:
            return
        self._is_refusal_told = True
        logger.warning(
            "telemetry: every=%d costs more than overhead_budget=%g allows: after step %d, "
            "1 step in %d is sampled for now, and more or fewer as the costs change; "
            "`telemetry show` counts them. overhead_budget=None removes the limit",
            asked,
            budget,
            change.step,
            change.after,
        )

    def reached(self, step: int, samples: int, epochs: int) -> Continuation:
        """Where a later attempt goes on that begins at this step, after all these."""
        return Continuation(
            step=step,
            samples=samples,
            epochs=epochs,
            elapsed_s=self._wall() - self._started_s,
            cost_s=self.total_s,
            cadence=self.governor.cadence,
        )

    def go_on(self, at: Continuation) -> None:
        """Count on from what earlier attempts of the run have spent, divided as it is allowed."""
        self._started_s = self._wall() - at.elapsed_s
        self.first_step = at.step
        hashing_s = HASH_SHARE * at.cost_s
        self.purse.go_on(hashing_s)
        self.governor.go_on(replace(at, cost_s=at.cost_s - hashing_s))

    def hashes(self, step: int) -> bool:
        """Whether the batches of a step are hashed although it is not sampled."""
        return self.purse.wanted(step)

    def hashing(self) -> Exactly:
        """A block that hashes, which has a purse of its own."""
        return self.meter.exactly(self._charge_hashing)

    def sampled(self, step: int) -> bool:
        """Whether a step that begins is sampled; its hooks are timed accordingly."""
        self._is_sampled = self.governor.sampled(step)
        self.meter.be_exact(
            wanted=self._is_sampled
            or step % EXACT_EVERY == EXACT_PHASE
            or len(self._plain_s) < N_EXACT
        )
        return self._is_sampled

    def look_begins(self) -> None:
        """An evaluation is looked at in a step that is not sampled."""
        self.meter.be_exact(wanted=True)
        self._looked_from_s = self.meter.spent_s

    def look_ends(self) -> None:
        """It was; a step ends after that."""
        self._looked_s += max(self.meter.spent_s - self._looked_from_s, 0.0)

    def add_usual(self) -> None:
        """The step that ends was not timed: it has cost what those cost that are."""
        self.meter.add(self._usual_s)

    def quiet_until(self, step: int) -> int:
        """The next step that is sampled, timed, or at which something is decided."""
        timed = step + EXACT_EVERY - (step - EXACT_PHASE) % EXACT_EVERY
        return min(timed, self.governor.quiet_until(step))

    def quiet_step_ended(self) -> float:
        """A step before that one, which was not timed, has ended; what it has cost."""
        self.n_steps += 1
        self._is_sampled = False
        self.governor.quiet_step_ended(self._usual_s)
        return self._usual_s

    def take_step(self) -> float:
        """What the step that ends has cost, in seconds; the next one begins at 0."""
        self.n_steps += 1
        self.n_samples += self._is_sampled
        looked_s, self._looked_s = self._looked_s, 0.0
        if self.meter.is_exact:
            seconds = self.meter.take()
            if not self._is_sampled:
                self._plain_s.append(max(seconds - looked_s, 0.0))
                self._usual_s = statistics.median(self._plain_s)
                self._limit_s = max(LIMIT_FACTOR * self._usual_s, LEAST_LIMIT_S)
        else:
            seconds = self.meter.take(limit_s=self._limit_s)
        # Looks at evaluations are few whatever they cost; samples of training do not pay for them.
        looked_s = min(looked_s, seconds)
        self._evaluations_s += looked_s
        self.governor.charge(seconds - looked_s)
        hashing_s, self._hashing_s = self._hashing_s, 0.0
        return seconds + hashing_s

    def _charge_hashing(self, seconds: float) -> None:
        self.purse.charge(seconds)
        self._hashing_s += seconds
