"""The time that the training spends in telemetry's own code: every block, the outermost once."""

import math
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

    What counts is processor time, but its clock takes a microsecond or two to read. So it is read
    in some steps and for some blocks; the others are timed by the clock on the wall, which goes on
    while the thread waits for a core, and what they add up to is limited.

    Args:
        clock: Monotonic seconds, cheap to read.
        processor: Seconds that the calling thread has computed; None: the other clock.
        dispatch_s: Seconds of the way to one block and back.
    """

    __slots__ = (
        "_clock",
        "_dispatch_s",
        "_exact_s",
        "_is_running",
        "_now",
        "_processor",
        "_spent_s",
        "_started_s",
    )

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        *,
        processor: Callable[[], float] | None = None,
        dispatch_s: float = 0.0,
    ) -> None:
        self._clock = self._now = clock
        self._processor = processor or clock
        self._dispatch_s = dispatch_s
        self._is_running = False
        self._started_s = 0.0
        self._spent_s = 0.0
        self._exact_s = 0.0

    @property
    def spent_s(self) -> float:
        """Seconds since the last `take`, those of the block that is running included."""
        running_s = self._now() - self._started_s if self._is_running else 0.0
        return self._spent_s + self._exact_s + running_s

    def start(self) -> bool:
        """A block begins; whether it is an outermost one, which is to be stopped when it ends."""
        if self._is_running:
            return False
        self._is_running = True
        self._started_s = self._now()
        return True

    def stop(self) -> None:
        """The outermost block ends."""
        self._is_running = False
        self._spent_s += self._now() - self._started_s + self._dispatch_s

    def add(self, seconds: float) -> None:
        """Add processor time that was measured in another way, outside of any block."""
        self._exact_s += seconds

    @property
    def is_exact(self) -> bool:
        """Whether blocks are timed by processor time."""
        return self._now is self._processor

    def be_exact(self, *, wanted: bool) -> None:
        """Time blocks by processor time from here on, or no longer."""
        if wanted is not self.is_exact:
            is_running = self._pause()
            self._now = self._processor if wanted else self._clock
            self._resume(is_running)

    def take(self, *, limit_s: float = math.inf) -> float:
        """What was spent since the last call; what runs is divided at this moment.

        Args:
            limit_s: Of the blocks that were timed by the clock on the wall.
        """
        is_running = self._pause()
        spent_s = self._exact_s + min(self._spent_s, limit_s)
        self._spent_s = self._exact_s = 0.0
        self._resume(is_running)
        return spent_s

    def exactly(self, charge: Callable[[float], None] | None = None) -> "Exactly":
        """A block of a block that is timed by processor time, because it may take long.

        Args:
            charge: Told its seconds, which then are no part of what the meter has; None: they are.
        """
        return Exactly(self, self._processor, charge or self.add)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """A part of a block that is not telemetry's own: a function of the user."""
        was_running = self._pause()
        try:
            yield
        finally:
            self._resume(was_running)

    def _pause(self) -> bool:
        """Stop counting; whether a block was running."""
        if not self._is_running:
            return False
        self._spent_s += self._now() - self._started_s
        self._is_running = False
        return True

    def _resume(self, was_running: bool) -> None:  # noqa: FBT001 - what `_pause` has returned
        if was_running:
            self._is_running = True
            self._started_s = self._now()


class Exactly:
    """A block that is timed by processor time, whatever ends it; made by `Meter.exactly`.

    Args:
        meter: Counts nothing meanwhile.
        processor: Its clock.
        charge: Told the seconds.
    """

    __slots__ = ("_charge", "_meter", "_processor", "_started_s", "_was_running")

    def __init__(
        self, meter: Meter, processor: Callable[[], float], charge: Callable[[float], None]
    ) -> None:
        self._meter = meter
        self._processor = processor
        self._charge = charge
        self._was_running = False
        self._started_s = 0.0

    def __enter__(self) -> Self:
        # So that blocks within this one are not counted: it is running, and nothing adds it up.
        self._was_running = self._meter._pause()  # noqa: SLF001 - a part of it
        self._meter._resume(True)  # noqa: FBT003, SLF001
        self._started_s = self._processor()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._charge(self._processor() - self._started_s)
        self._meter._is_running = False  # noqa: SLF001
        self._meter._resume(self._was_running)  # noqa: SLF001


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
