"""What the hashing of batches may cost: a purse of its own beside that of the samples."""

import math
from collections.abc import Callable

from telemetry.capture.budget.governor import Governor

WINDOW_STEPS = 64
NOTABLE_S = 0.01  # of a window: a dearer one may be cut short
UNLIMITED_SHARE = 0.01  # of the elapsed time: what hashing has its share of without a budget
HASH_SHARE = 0.25  # of what capture may cost; repeated batches need consecutive steps


class HashWindows:
    """Opens windows of 64 consecutive steps while hashing stays within its share of the budget.

    Hashing has a purse of its own: windows that open and close would make the cadence of the
    samples swing. A window opens if it can be paid for to its end, as far as one can tell.

    Attributes:
        cost_s: Seconds spent on hashing so far.
    """

    def __init__(self) -> None:
        self.cost_s = 0.0
        self._began_step = 0
        self._began_cost_s = 0.0
        self._per_step_s = 0.0  # in the last window
        self._open = True

    def wanted(
        self, step: int, allowed_s: Callable[[], float], limit_s: Callable[[], float]
    ) -> bool:
        """Whether the batches of this step are hashed.

        Args:
            step: Optimizer step; windows begin at its multiples of 64, so ranks share them.
            allowed_s: Tells what hashing should have cost by now at most.
            limit_s: Tells what it must not exceed.
        """
        if step % WINDOW_STEPS == 0:
            self._close(step)
            self._open = self.cost_s + WINDOW_STEPS * self._per_step_s <= allowed_s()
            self._began_step, self._began_cost_s = step, self.cost_s
        elif self._open and self.cost_s - self._began_cost_s > NOTABLE_S:
            self._close(step)
            self._open = self.cost_s + self._per_step_s <= limit_s()
        return self._open

    def _close(self, step: int) -> None:
        if self._open and step > self._began_step:
            self._per_step_s = (self.cost_s - self._began_cost_s) / (step - self._began_step)


class HashPurse:
    """What hashing has cost, and whether it may go on.

    Args:
        governor: Says what recording may cost.
    """

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self._windows = HashWindows()

    @property
    def cost_s(self) -> float:
        """Seconds spent on hashing so far."""
        return self._windows.cost_s

    def wanted(self, step: int) -> bool:
        """Whether its batches are hashed although it is not sampled; asked as a step begins."""
        return self._windows.wanted(step, self._allowed_s, self._limit_s)

    @property
    def is_affordable(self) -> bool:
        """Whether hashing has not cost more than it was promised to."""
        return self._windows.cost_s <= self._limit_s()

    def go_on(self, cost_s: float) -> None:
        """Count on from what earlier attempts of the run have spent on hashing, in seconds."""
        self._windows.cost_s = cost_s

    def charge(self, seconds: float) -> None:
        """Add time that was spent on hashing."""
        self._windows.cost_s += seconds

    def _allowed_s(self) -> float:
        allowed_s = self._governor.allowed_s
        if math.isinf(allowed_s):  # samples were asked for, not hashes of every step between them
            allowed_s = UNLIMITED_SHARE * self._governor.elapsed_s
        return HASH_SHARE / (1 - HASH_SHARE) * allowed_s

    def _limit_s(self) -> float:
        return HASH_SHARE / (1 - HASH_SHARE) * self._governor.limit_s
