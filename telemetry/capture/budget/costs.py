"""What recording one run costs the training thread: of samples, of hashing, of the present step."""

from collections.abc import Callable
from dataclasses import replace

from telemetry.capture.budget.charged import Charged
from telemetry.capture.budget.governor import Governor
from telemetry.capture.budget.hash_purse import HASH_SHARE, HashPurse
from telemetry.capture.environment.peak_memory import peak_memory
from telemetry.capture.isolation.meter import Meter
from telemetry.capture.steps.continuation import Continuation
from telemetry.capture.steps.options import Options
from telemetry.json_values import Json


class Costs:
    """The governor of the samples, the purse of hashing, and what both have spent.

    Args:
        options: What recording may cost.
        clock: Monotonic seconds.
        dispatch_s: Seconds of the way to one hook and back.

    Attributes:
        governor: Decides which steps are sampled.
        purse: What hashing the batches may cost.
        meter: Times whatever the training runs of telemetry.
    """

    def __init__(
        self, options: Options, clock: Callable[[], float], *, dispatch_s: float = 0.0
    ) -> None:
        budget = options.overhead_budget
        self.governor = Governor(
            every=options.every,
            budget_share=None if budget is None else (1 - HASH_SHARE) * budget,
            allowance_s=(1 - HASH_SHARE) * options.overhead_allowance_s,
            clock=clock,
        )
        self.purse = HashPurse(self.governor)
        self.meter = Meter(clock, dispatch_s=dispatch_s)
        self._clock = clock
        self._hashing_s = 0.0  # of the step in progress; the meter counts it as well

    @property
    def total_s(self) -> float:
        """Seconds of the training thread that recording has taken so far."""
        return self.governor.cost_s + self.purse.cost_s + self.meter.spent_s - self._hashing_s

    @property
    def share(self) -> float:
        """Its share of the elapsed time."""
        return self.total_s / max(self.governor.elapsed_s, 1e-9)

    def summary(self) -> dict[str, Json]:
        """For the summary of the run."""
        return {
            "overhead_share": self.share,
            "cadence": self.governor.cadence,
            **peak_memory(),
        }

    def reached(self, step: int, samples: int, epochs: int) -> Continuation:
        """Where a later attempt goes on that begins at this step, after all these."""
        return Continuation(
            step=step,
            samples=samples,
            epochs=epochs,
            elapsed_s=self.governor.elapsed_s,
            cost_s=self.total_s,
            cadence=self.governor.cadence,
        )

    def go_on(self, at: Continuation) -> None:
        """Count on from what earlier attempts of the run have spent, divided as it is allowed."""
        hashing_s = HASH_SHARE * at.cost_s
        self.purse.go_on(hashing_s)
        self.governor.go_on(replace(at, cost_s=at.cost_s - hashing_s))

    def hashes(self, step: int) -> bool:
        """Whether the batches of a step are hashed although it is not sampled."""
        return self.purse.wanted(step)

    def hashing(self) -> Charged:
        """A block that hashes, which has a purse of its own."""
        return Charged(self._charge_hashing, self._clock)

    def take_step(self) -> float:
        """What the step that ends has cost, in seconds; the next one begins at 0."""
        seconds = self.meter.take()
        self.governor.charge(seconds - self._hashing_s)
        self._hashing_s = 0.0
        return seconds

    def _charge_hashing(self, seconds: float) -> None:
        self.purse.charge(seconds)
        self._hashing_s += seconds
