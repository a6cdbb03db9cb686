"""The flight recorder: the last steps in a small file, written as they end.

Steps that end within a twentieth of a second are written together, for a write costs as much as
all else that a step of a small model does here. The training thread writes them when the next step
ends, the writer thread if none does. Where writing is slow, on a file system that asks a server
every time, the pauses between writes grow until writing takes no more than a thousandth of the
time.

Rows of `steps` reach the disk in shards, half a minute apart. What was not written when the process
dies without a chance to write it (SIGKILL, SIGSEGV, os._exit) is in this file: nothing waits for
the disk, for the page cache of the kernel outlives the process. It is written with pwrite, not by
mapping it into memory: that costs a microsecond more, and a full or vanished disk is then an error
to be handled instead of a SIGBUS that ends the training.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC
from pathlib import Path

import pyarrow as pa
from torch import Tensor

from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.tensors.host import host_number
from telemetry.format.flight_ring import (
    COLUMNS,
    SLOT_BYTES,
    empty_ring,
    encoded_record,
    ring_name,
    slot_offset,
)
from telemetry.format.runs import FILE_MODE, remove_quietly

logger = logging.getLogger(__name__)

CLOSED = -1
TOGETHER_S = 0.05  # steps that end within it are written together
# A page cache answers in a few microseconds; a file system that asks a server takes long at every
# write. One slow write says nothing: the thread waits for a core now and then, on a busy machine.
SLOW_WRITE_S = 0.0005
CERTAIN = 4  # slow writes in a row
SLOW_SHARE = 0.001  # of the time, for writes that are slow
FIRST_PAUSE_S = 0.1  # doubled while the writes after it are slow, or fail
LONGEST_PAUSE_S = 60.0


class FlightRecorder:
    """Keeps the scalars of the last steps of one attempt and rank in their ring file.

    Args:
        folder: Of the run.
        attempt: Of this process.
        rank: Of this process.
        n_slots: Steps to keep, at least 1.
        clock: Monotonic seconds.

    Attributes:
        path: The ring file.
        is_on: Whether steps are kept: the file is there, and the last write was done.
    """

    def __init__(
        self,
        folder: Path,
        *,
        attempt: int,
        rank: int,
        n_slots: int,
        clock: Callable[[], float],
    ) -> None:
        self.path = folder / ring_name(attempt, rank)
        self._n_slots = n_slots
        self._clock = clock
        self.is_on = True
        self._descriptor = CLOSED
        self._settled = bytearray(SLOT_BYTES * n_slots)
        self._is_behind = False  # some values were still on a device when their step ended
        # Steps that were not written; the training thread adds to them, and whoever has the lock
        # takes them out. Nobody waits for it.
        self._kept: deque[StepRecord] = deque(maxlen=n_slots)
        self._image = bytearray(SLOT_BYTES * n_slots)  # of the half of the training thread
        self._writing = threading.Lock()
        self._due_s = 0.0  # elapsed time of the run from which on steps are written
        self._pause_s = FIRST_PAUSE_S
        self._n_slow = 0  # writes in a row
        self._is_told = False
        try:
            self._create(empty_ring(n_slots, attempt=attempt, rank=rank))
        except OSError as error:
            self._tell_off(error)
            self.close(keep=False)

    def note(self, record: StepRecord) -> None:
        """Keep a step that has ended, or has learnt more since; on the training thread."""
        if self._descriptor == CLOSED:
            return
        self._kept.append(record)
        if record.elapsed_s >= self._due_s:
            self._write_due(record.elapsed_s)

    def write_kept(self) -> bool:
        """Write what was kept since the last write; false if the file refused it."""
        if not self._kept or not self._writing.acquire(blocking=False):
            return True
        try:
            records = [self._kept.popleft() for _ in range(len(self._kept))]
            if self._descriptor != CLOSED and self._write_records(records):
                return True
            n_room = self._n_slots - len(self._kept)  # what ended meanwhile is newer
            self._kept.extendleft(records[: -n_room - 1 : -1])
            return False
        finally:
            self._writing.release()

    def write_waiting(self) -> None:
        """Write what no later step has come to write; on the writer thread, now and then."""
        if not self._n_slow and self._pause_s == FIRST_PAUSE_S:  # else it has its own pauses
            self.write_kept()

    def settle(self, rows: pa.Table) -> None:
        """Keep rows of `steps` whose values have left their device; on the writer thread."""
        if self._descriptor == CLOSED or not self._is_behind:
            return
        newest = rows.slice(max(rows.num_rows - self._n_slots, 0))
        for row in newest.select(["step", "wall_time", *COLUMNS]).to_pylist():
            step = row.pop("step")
            ended_s = row.pop("wall_time").replace(tzinfo=UTC).timestamp()
            content = encoded_record(step, ended_s, **row)
            offset = SLOT_BYTES * (step % self._n_slots)
            self._settled[offset : offset + len(content)] = content
        self._write(bytes(self._settled), slot_offset(0, self._n_slots, settled=True))

    def close(self, *, keep: bool) -> None:
        """Let go of the file.

        Args:
            keep: Leave it for the reader: some of its steps are in no shard.
        """
        self.is_on = False
        descriptor, self._descriptor = self._descriptor, CLOSED
        if descriptor != CLOSED:
            os.close(descriptor)
            if not keep:
                remove_quietly(self.path)

    def _create(self, content: bytes) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._descriptor = os.open(self.path, flags, FILE_MODE)
        # All of it: from here on nothing has to be allocated, so a disk that fills up later does
        # not matter.
        if os.write(self._descriptor, content) != len(content):
            raise OSError("the file could not be written whole")

    def _encoded(self, record: StepRecord) -> bytes:
        losses, norm, coefficient = record.losses, record.grad_norm_total, record.clip_coefficient
        # Most steps have one loss, a number, and what is not there need not be asked for.
        return encoded_record(
            record.step,
            record.wall_time_s,
            elapsed_s=record.elapsed_s,
            loss=losses[0] if len(losses) == 1 and type(losses[0]) is float else self._loss(record),
            lr=record.lr if type(record.lr) is float else self._number(record.lr),
            step_s=record.step_s,
            overhead_s=record.overhead_s,
            grad_norm_total=None if norm is None else self._number(norm),
            clip_coefficient=None if coefficient is None else self._number(coefficient),
            samples=record.samples or None,
            backward_calls=record.backward_calls or None,
            epoch=record.epoch,
            flags=int(record.flags),
        )

    def _write_due(self, elapsed_s: float) -> None:
        """Write what is kept, and decide when the next write is due."""
        started_s = self._clock()
        if not self.write_kept():
            self._pause(elapsed_s, LONGEST_PAUSE_S)
            return
        took_s = self._clock() - started_s
        self._due_s = elapsed_s + TOGETHER_S
        if took_s <= SLOW_WRITE_S:
            self._n_slow, self._pause_s = 0, FIRST_PAUSE_S
            return
        self._n_slow += 1
        if self._n_slow >= CERTAIN:
            self._pause(elapsed_s, min(took_s / SLOW_SHARE, LONGEST_PAUSE_S))

    def _write_records(self, records: Sequence[StepRecord]) -> bool:
        for record in records:
            content = self._encoded(record)
            offset = SLOT_BYTES * (record.step % self._n_slots)
            self._image[offset : offset + len(content)] = content
        steps = [record.step for record in records]
        n_slots, last = self._n_slots, max(steps)
        begin = max(min(steps), last + 1 - n_slots) % n_slots
        end = last % n_slots + 1
        parts = [(begin, end)] if begin < end else [(begin, n_slots), (0, end)]
        return all(self._write_part(part) for part in parts)

    def _write_part(self, slots: tuple[int, int]) -> bool:
        begin, end = slots
        content = bytes(self._image[SLOT_BYTES * begin : SLOT_BYTES * end])
        return self._write(content, slot_offset(begin, self._n_slots, settled=False))

    def _pause(self, elapsed_s: float, longest_s: float) -> None:
        """Keep steps in memory for a while; the longer, the more often the file was slow."""
        self._due_s = elapsed_s + min(self._pause_s, longest_s)
        self._pause_s = min(2 * self._pause_s, longest_s)

    def _loss(self, record: StepRecord) -> float | None:
        """The mean of what was reported, else the sum of closures or unscaled roots."""
        known = [
            self._number(value) for value in record.losses or record.closure_losses or record.roots
        ]
        total = 0.0
        for number in known:
            if number is None:
                return None
            total += number
        if not known:
            return None
        if record.losses:
            return total / len(known)
        if record.loss_scale is None or record.closure_losses:
            return total
        scale = self._number(record.loss_scale)
        return None if scale is None else total / (scale or 1.0)

    def _number(self, value: Tensor | float | None) -> float | None:
        if value is None:
            return None
        number = host_number(value)
        if number is None:
            self._is_behind = True
        return number

    def _write(self, content: bytes, offset: int) -> bool:
        try:
            os.pwrite(self._descriptor, content, offset)
        except OSError as error:
            self._tell_off(error)
            return False
        self.is_on = True
        return True

    def _tell_off(self, error: OSError) -> None:
        self.is_on = False
        if not self._is_told:
            self._is_told = True
            logger.warning(
                "telemetry: %s: %s: if the process is killed, everything recorded since the last "
                "write to a shard is lost",
                self.path,
                error.strerror or str(error),
            )
