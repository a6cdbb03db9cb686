"""The way from the training thread to the writer thread: never blocks, never raises, is bounded."""

import threading
from collections import deque

from telemetry.capture.packet import Packet, RowsPacket

QUEUED_BYTES_LIMIT = 64 * 1024 * 1024
# Steps, metrics and events are small and are what a run cannot be understood without.
HOST_ROWS_EXTRA_BYTES = 16 * 1024 * 1024
WAKE_BYTES = 4 * 1024 * 1024
NO_STEP = -1


class Inbox:
    """Packets on their way, and how far training has come.

    The training side only adds to its counters and the writer side to its own, so neither waits
    for the other.

    Attributes:
        is_open: Packets are taken; false after the end and in a forked child.
        first_step: First step marked, None before it.
        last_step: Last step marked.
        n_refused: Packets dropped because too many bytes were waiting.
    """

    def __init__(self) -> None:
        self.is_open = True
        self.first_step: int | None = None
        self.last_step = NO_STEP
        self.n_refused = 0
        self.wake = threading.Event()
        self._packets: deque[tuple[Packet, int]] = deque()
        # Reentrant: a signal handler may log while the interrupted code is putting. Only those
        # that put take it, so that a loop with one thread never waits.
        self._putting = threading.RLock()
        self._put_bytes = 0
        self._taken_bytes = 0

    @property
    def queued_bytes(self) -> int:
        """Memory held by packets that were not taken."""
        return self._put_bytes - self._taken_bytes

    def put(self, packet: Packet) -> None:
        """Queue a packet, or drop and count it when too much is waiting."""
        if not self.is_open:
            return
        n_bytes = packet.n_bytes
        limit = QUEUED_BYTES_LIMIT
        if isinstance(packet, RowsPacket):
            limit += HOST_ROWS_EXTRA_BYTES
        with self._putting:
            if self.queued_bytes + n_bytes > limit:
                self.n_refused += 1
                return
            self._put_bytes += n_bytes
            self._packets.append((packet, n_bytes))
        if self.queued_bytes >= WAKE_BYTES:
            self.wake.set()

    def mark_step(self, step: int) -> None:
        """Note that a step has ended, after its packets were put."""
        if self.first_step is None:
            self.first_step = step
        self.last_step = max(self.last_step, step)

    def take(self) -> list[Packet]:
        """Packets that were there when asked, oldest first; for the writer thread."""
        taken: list[Packet] = []
        for _ in range(len(self._packets)):
            packet, n_bytes = self._packets.popleft()
            self._taken_bytes += n_bytes
            taken.append(packet)
        return taken
