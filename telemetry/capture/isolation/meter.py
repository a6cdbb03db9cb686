"""The time that the training spends in telemetry's own code: every block, the outermost once."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self


class Meter:
    """Adds up the time of blocks; of blocks within blocks, that of the outermost.

    A block is timed where it runs, in the middle of a training: called in a loop of their own, the
    same hooks take half as long, for their code and their data are in the caches. What a clock
    inside of a hook cannot see is the way to it and back, through torch and through what stands
    around the hook. That is measured once (`dispatch_cost.py`) and added to each outermost block.

    Args:
        clock: Monotonic seconds.
        dispatch_s: Seconds of the way to one block and back.
    """

    __slots__ = ("_clock", "_dispatch_s", "_is_running", "_spent_s", "_started_s")

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, *, dispatch_s: float = 0.0
    ) -> None:
        self._clock = clock
        self._dispatch_s = dispatch_s
        self._is_running = False
        self._started_s = 0.0
        self._spent_s = 0.0

    @property
    def spent_s(self) -> float:
        """Seconds since the last `take`, those of the block that is running included."""
        running_s = self._clock() - self._started_s if self._is_running else 0.0
        return self._spent_s + running_s

    def start(self) -> bool:
        """A block begins; whether it is an outermost one, which is to be stopped when it ends."""
        if self._is_running:
            return False
        self._is_running = True
        self._started_s = self._clock()
        return True

    def stop(self) -> None:
        """The outermost block ends."""
        self._is_running = False
        self._spent_s += self._clock() - self._started_s + self._dispatch_s

    def add(self, seconds: float) -> None:
        """Add time that was measured in another way, outside of any block."""
        self._spent_s += seconds

    def take(self) -> float:
        """What was spent since the last call; what runs is divided at this moment."""
        spent_s, self._spent_s = self._spent_s, 0.0
        if self._is_running:
            now_s = self._clock()
            spent_s += now_s - self._started_s
            self._started_s = now_s
        return spent_s

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A part of a block that is not telemetry's own: a function of the user."""
        was_running = self._is_running
        if was_running:
            self._spent_s += self._clock() - self._started_s
            self._is_running = False
        try:
            yield
        finally:
            if was_running:
                self.start()


class Metered:
    """A block whose time a meter adds up, whatever ends it.

    Args:
        meter: Told of it.
    """

    __slots__ = ("_is_outermost", "_meter")

    def __init__(self, meter: Meter) -> None:
        self._meter = meter
        self._is_outermost = False

    def __enter__(self) -> Self:
        self._is_outermost = self._meter.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_outermost:
            self._meter.stop()
