"""When a running run may be judged: what a diagnosis costs in processor time, against the budget.

The diagnosis is another process of low priority, so what it takes is a share of all cores that the
training may use, not of its thread. Pure: the time is an argument.
"""

import os
from dataclasses import dataclass

FIRST_LOOK_S = 5.0  # before, a run has too few samples for most rules
SPREAD_FACTOR = 2.0  # the allowance is spent on looks each twice as late as the one before


@dataclass(slots=True, kw_only=True)
class LookBudget:
    """Keeps the cost of diagnoses to max(allowance, share x elapsed) of each core.

    Attributes:
        share: Of the elapsed time of each core; None: no limit.
        allowance_s: Seconds of each core that diagnoses may take in any case.
        n_cores: That the process may use.
        spent_s: Processor time of all diagnoses so far.
        cost_s: Of the last one.
        last_s: When the last one began, in seconds since recording began; None: there was none.
    """

    share: float | None
    allowance_s: float
    n_cores: int
    spent_s: float = 0.0
    cost_s: float = 0.0
    last_s: float | None = None

    def allows(self, elapsed_s: float) -> bool:
        """Whether a diagnosis may begin now, if it costs what the last one has cost."""
        if self.share is None:
            return True
        if self.last_s is None:
            return elapsed_s >= FIRST_LOOK_S
        gap_s = elapsed_s - self.last_s
        if self.cost_s <= self.share * self.n_cores * gap_s:
            return True
        fits = self.spent_s + self.cost_s <= self.allowance_s * self.n_cores
        return fits and elapsed_s >= SPREAD_FACTOR * self.last_s

    def began(self, elapsed_s: float) -> None:
        """A diagnosis has begun."""
        self.last_s = elapsed_s

    def charge(self, cpu_s: float) -> None:
        """It has ended."""
        self.cost_s = cpu_s
        self.spent_s += cpu_s


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
