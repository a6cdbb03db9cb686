"""A training loop with an artificial clock, recorded under a governor."""

import itertools
import math
from dataclasses import dataclass, field

from telemetry.capture.budget.floor import Floor
from telemetry.capture.budget.governor import CadenceChange, Governor


@dataclass
class Loop:
    """A training loop with an artificial clock, recorded under a governor."""

    every: int | None = None
    budget_share: float | None = 0.01
    allowance_s: float = 2.0
    total_steps: int | None = None
    now_s: float = 100.0
    step: int = 0
    samples: list[tuple[int, float]] = field(default_factory=list)
    changes: list[CadenceChange] = field(default_factory=list)
    worst_excess_s: float = -math.inf

    def __post_init__(self) -> None:
        self.governor = Governor(
            every=self.every,
            budget_share=self.budget_share,
            allowance_s=self.allowance_s,
            total_steps=self.total_steps,
            clock=lambda: self.now_s,
        )

        self.floor = Floor(every=self.every or 1, total_steps=self.total_steps)

    def spend(self, seconds: float) -> None:
        self.now_s += seconds
        self.governor.charge(seconds)

    def run(self, n_steps: int, *, step_s: float, sample_s: float, base_s: float = 0.0) -> "Loop":
        for _ in range(n_steps):
            is_owed = self.floor.has(self.step)
            is_sampled = self.governor.sampled(self.step)
            if is_sampled:
                self.spend(sample_s)
                self.samples.append((self.step, self.governor.elapsed_s))
            self.now_s += step_s
            if base_s:
                self.spend(base_s)
            change = self.governor.step_ended(self.step)
            if change is not None:
                self.changes.append(change)
            if is_sampled and not is_owed:
                self._look_at_the_promise()
            self.step += 1
        return self

    def _look_at_the_promise(self) -> None:
        """After a sample that nobody owed: those of the floor are taken whatever they cost."""
        promised_s = max(self.allowance_s, (self.budget_share or 0) * self.governor.elapsed_s)
        self.worst_excess_s = max(self.worst_excess_s, self.governor.cost_s - promised_s)

    @property
    def chosen(self) -> list[int]:
        """Steps of the samples that the budget has paid."""
        floor = Floor(every=self.every or 1, total_steps=self.total_steps)
        return [step for step, _ in self.samples if not floor.has(step)]

    def allowed_steps(self) -> bool:
        """Whether every sample that the budget has paid lies on the cadence that events tell."""
        cadence = {change.step: change.after for change in self.changes}
        current = self.every or 1
        last = 0
        for step in self.chosen:
            for between in range(last, step):
                current = cadence.get(between, current)
            if step % current:
                return False
            last = step
        return True

    def longest_gap_share(self, *, after_s: float) -> float:
        """Longest time without a sample, as a share of the time elapsed at its beginning."""
        times = [seconds for _, seconds in self.samples] + [self.governor.elapsed_s]
        gaps = [(b - a) / a for a, b in itertools.pairwise(times) if a >= after_s]
        return max(gaps, default=0.0)
