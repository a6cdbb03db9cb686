"""The flight recorder: the last steps in a small file, written as each of them ends.

Rows of `steps` reach the disk in shards, half a minute apart. What was not written when the process
dies without a chance to write it (SIGKILL, SIGSEGV, os._exit) is in this file: nothing waits for
the disk, for the page cache of the kernel outlives the process. It is written with pwrite, not by
mapping it into memory: that costs a microsecond more, and a full or vanished disk is then an error
to be handled instead of a SIGBUS that ends the training.
"""

import logging
import os
from collections.abc import Callable
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
# A page cache answers in a microsecond or two; a file system that asks a server at every write
# must not slow the training down.
GRACE_S = 0.25
SLOW_WRITE_S = 50e-6
SLOW_SHARE = 0.001  # of the time, so that slow steps may have slow writes


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
        is_on: Whether steps are kept.
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
        self._n_notes = 0
        self._cost_s = 0.0
        try:
            self._create(empty_ring(n_slots, attempt=attempt, rank=rank))
        except OSError as error:
            self._off(error.strerror or str(error))
            self.close(keep=False)

    def note(self, record: StepRecord) -> None:
        """Keep a step that has ended, or has learnt more since; on the training thread."""
        if not self.is_on:
            return
        started_s = self._clock()
        losses, norm, coefficient = record.losses, record.grad_norm_total, record.clip_coefficient
        # Most steps have one loss, a number, and what is not there need not be asked for.
        content = encoded_record(
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
        self._write(content, slot_offset(record.step, self._n_slots, settled=False))
        self._n_notes += 1
        self._cost_s += self._clock() - started_s
        if self._cost_s > GRACE_S:
            self._check_speed(record.elapsed_s)

    def settle(self, rows: pa.Table) -> None:
        """Keep rows of `steps` whose values have left their device; on the writer thread."""
        if not (self.is_on and self._is_behind):
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

    def _check_speed(self, elapsed_s: float) -> None:
        usual_s = max(SLOW_WRITE_S * self._n_notes, SLOW_SHARE * elapsed_s)
        if self.is_on and self._cost_s > GRACE_S + usual_s:
            self._off(f"each write takes {1e6 * self._cost_s / self._n_notes:.0f} microseconds")

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

    def _write(self, content: bytes, offset: int) -> None:
        try:
            os.pwrite(self._descriptor, content, offset)
        except OSError as error:
            self._off(error.strerror or str(error))

    def _off(self, reason: str) -> None:
        logger.warning(
            "telemetry: %s: the flight recorder is off (%s); a process that is killed loses what "
            "it recorded since the last flush",
            self.path,
            reason,
        )
        # The descriptor stays: the other thread may be writing, and numbers of closed files are
        # given to other files.
        self.is_on = False
