"""The clocks by which recording is paid for.

On a machine with more to do than it has cores, a thread waits for its turn, and the clock on the
wall goes on meanwhile. That wait is no cost of recording, and no time in which the training could
have got ahead: both are measured without it, so that a run is sampled alike on an idle and on a
busy machine.
"""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import get_ident

NANOSECOND_S = 1e-9
# Of the calling thread, as Linux counts them: nanoseconds on a core, nanoseconds in the queue for
# one, and turns.
SCHEDULER_PATH = "/proc/thread-self/schedstat"
READ_BYTES = 128


class CoreQueue:
    """Seconds that the training thread has waited for a core while it could have run.

    A reading costs some five microseconds, so decisions are made by it and hooks are not. Where the
    system does not say it, the wait is 0: then waits count as time of the training.

    Args:
        path: What the kernel says of the calling thread.
    """

    def __init__(self, path: str = SCHEDULER_PATH) -> None:
        self._path = path
        self._thread = get_ident()
        self._last_ns = self._read()
        self._total_ns = 0

    def __call__(self) -> float:
        """Since this was made."""
        now_ns, thread = self._read(), get_ident()
        if thread == self._thread:
            self._total_ns += max(now_ns - self._last_ns, 0)
        self._thread, self._last_ns = thread, now_ns  # another thread has a wait of its own
        return self._total_ns * NANOSECOND_S

    def _read(self) -> int:
        try:
            descriptor = os.open(self._path, os.O_RDONLY)
            try:
                fields = os.read(descriptor, READ_BYTES).split()
            finally:
                os.close(descriptor)
            return int(fields[1])
        except (OSError, ValueError, IndexError):
            return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clocks:
    """Where a recording reads its times, all in seconds.

    Attributes:
        wall: Goes on whatever happens. Costs least, so that short hooks are timed by it.
        processor: What the calling thread has computed. Ten times the price of `wall`.
        queued: What the training thread has waited for a core.
    """

    wall: Callable[[], float]
    processor: Callable[[], float]
    queued: Callable[[], float]

    @classmethod
    def of_system(cls) -> "Clocks":
        """Those of this machine, for the thread that makes them."""
        return cls(wall=time.perf_counter, processor=time.thread_time, queued=CoreQueue())

    @classmethod
    def alone(cls, clock: Callable[[], float]) -> "Clocks":
        """One clock for everything, where no thread waits for a core."""
        return cls(wall=clock, processor=clock, queued=_never)

    def unhindered(self) -> float:
        """What the training thread had for computing and for waiting for others: data, a device."""
        return self.wall() - self.queued()


def _never() -> float:
    return 0.0
