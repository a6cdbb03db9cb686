"""The work of the writer thread, one turn at a time: packets in, shards and heartbeats out.

Reads no clock: the time is an argument.
"""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa

from telemetry.capture.budget.changes import ChangeWatch
from telemetry.capture.environment.numerics import library_versions
from telemetry.capture.environment.repository import git_state
from telemetry.capture.isolation.contained import contained
from telemetry.capture.packet import JointPacket, Packet, RowsPacket
from telemetry.capture.writer.flight_recorder import FlightRecorder
from telemetry.capture.writer.inbox import Inbox
from telemetry.capture.writer.publisher import FLUSH_INTERVAL_S, Publisher
from telemetry.capture.writer.run_folder import Progress, RunFolder
from telemetry.errors import CaptureError
from telemetry.format.manifest import HEARTBEAT_INTERVAL_S, Status
from telemetry.format.shards import sweep_parts
from telemetry.format.step_flags import StepFlag
from telemetry.json_values import Json

logger = logging.getLogger(__name__)

PART_AGE_S = 3600.0
BATCH_BYTES = 4 * 1024 * 1024  # of packets whose rows are made together
Alarm: TypeAlias = tuple[str, int, float]  # column of `steps`, step, value
ALARMS = {
    "loss": ("loss", "non_finite_loss"),
    "grad_norm_total": ("gradient norm", "non_finite_norm"),
}


class Pump:
    """Empties an inbox into a run folder.

    Args:
        folder: Of the run.
        inbox: What training has put.
        summary: Values for the manifest's summary; training adds to it.
        flight: Told the values that had not left their device when their step ended.
        started_s: Time from which the schedules count.
        on_failure: Told what could not be recorded; raised at the end with `strict`.

    Attributes:
        first_bad_loss: The first step whose loss is not finite; None: none so far.
        n_alarms: How often everything was written at once because the training is about to end.
        changes: Notices that the training begins to behave otherwise.
    """

    def __init__(
        self,
        folder: RunFolder,
        inbox: Inbox,
        summary: Mapping[str, Json],
        *,
        flight: FlightRecorder | None = None,
        started_s: float,
        on_failure: Callable[[Exception], None],
    ) -> None:
        self._folder = folder
        self._inbox = inbox
        self._summary = summary
        self._flight = flight
        self._on_failure = on_failure
        self._progress = Progress()
        self._publisher = Publisher(folder, self._progress, started_s=started_s)
        self._heartbeat_due_s = started_s + HEARTBEAT_INTERVAL_S
        self._attempt_is_entered = False
        self._n_refused = 0
        self._alarm: Alarm | None = None
        self._alarm_due_s = -float("inf")
        self.first_bad_loss: int | None = None
        self.n_alarms = 0
        self.changes = ChangeWatch()

    @property
    def n_shards(self) -> int:
        """Shards written so far."""
        return self._publisher.n_shards

    @property
    def n_flushes(self) -> int:
        """How often shards were written so far."""
        return self._publisher.n_flushes

    @property
    def due_s(self) -> float:
        """When there is something to do at the latest."""
        return min(self._publisher.due_s, self._heartbeat_due_s)

    def begin(self, working_directory: Path | None) -> None:
        """What is too slow for the training thread: repository, versions, leftovers of a kill."""
        if working_directory is not None:
            self._progress.environment.update(git_state(working_directory))
        self._progress.environment["packages"] = library_versions()
        if self._folder.claim.attempt > 1:
            sweep_parts(self._folder.path, older_than_s=PART_AGE_S, now_s=time.time())

    def turn(self, now_s: float, *, flush: bool = False) -> bool:
        """Take what was put, flush what is due, give a sign of life.

        Args:
            now_s: Time.
            flush: Write everything, due or not.

        Returns:
            Whether everything that was put before is on the disk.
        """
        step = self._collect()
        flush = flush or self._is_alarmed(now_s)
        if flush:
            done = self._publisher.flush(now_s, step=step, up_to=None)
        else:
            self._publisher.flush_if_due(now_s, step=step)
            done = self._publisher.buffer.n_rows == 0
        # The first step enters the attempt at once: until then its rows would be nobody's.
        is_new = self._progress.first_step is not None and not self._attempt_is_entered
        if now_s >= self._heartbeat_due_s or is_new or flush:
            self._heartbeat_due_s = now_s + HEARTBEAT_INTERVAL_S
            self._attempt_is_entered = self._progress.first_step is not None
            self._write_manifest(Status.RUNNING, None)
        return done

    def forget_merged(self) -> None:
        """Leave shards that were merged and removed out of the manifest."""
        shards = self._progress.shards
        shards[:] = [(name, shard) for name, shard in shards if shard.path.exists()]

    def finish(self, now_s: float, status: Status, error: Mapping[str, Json] | None) -> None:
        """Write what is left, and the final manifest."""
        step = self._collect()
        is_written = self._publisher.flush(now_s, step=step, up_to=None)
        if not is_written:
            self._publisher.give_up_all(step)
            self._progress.is_whole = False
            if self._flight is not None and self._flight.is_on:  # it has the last steps
                self._progress.n_steps = max(self._progress.n_steps, step + 1)
        self._write_manifest(status, error)
        if self._flight is not None:
            self._flight.close(keep=not is_written)
        n_rows, n_packets = self._progress.dropped_rows, self._n_refused
        if n_rows or n_packets:
            text = f"{n_rows} rows and {n_packets} packets were lost"
            # On a disk without room for run.json, nothing else says so.
            self._publisher.warn_once("lost", text)
            self._on_failure(CaptureError(text))
        with contained(self._claim_not_ended):
            self._folder.claim.end()

    def _collect(self) -> int:
        """Move packets into the buffer; returns the last step whose packets are all there."""
        inbox, progress = self._inbox, self._progress
        step = inbox.last_step  # before taking: what was put before the mark is among the taken
        # What is not finite is recorded as it is, without a warning in somebody's training.
        with np.errstate(all="ignore"):
            for packets in batches(inbox.take(), up_to=step):
                for packet in packets if len(packets) == 1 else self._not_joined(packets):
                    with contained(self._packet_failed):
                        self._buffer(packet)
        if progress.first_step is None and inbox.first_step is not None:
            progress.first_step = inbox.first_step
        progress.last_step = max(progress.last_step, step)
        if inbox.n_refused > self._n_refused:
            self._tell_refused(inbox.n_refused - self._n_refused, step)
            self._n_refused = inbox.n_refused
        return step

    def _not_joined(self, packets: Sequence[Packet]) -> Sequence[Packet]:
        """Make the rows of a batch together; returns the packets if that has failed."""
        first = packets[0]
        with contained(self._batch_failed):
            if isinstance(first, JointPacket):
                for name, rows in first.rows_of(packets):
                    self._publisher.buffer.add(name, rows)
                return ()
        return packets

    def _buffer(self, packet: Packet) -> None:
        if isinstance(packet, RowsPacket):
            self._publisher.buffer.add_records(packet.table, packet.records)
            return
        for name, rows in packet.rows():
            self._publisher.buffer.add(name, rows)
            if name == "steps":
                self._watch_steps(rows)

    def _watch_steps(self, rows: pa.Table) -> None:
        if self._flight is not None:
            self._flight.settle(rows)
        self.changes.see(rows)
        if self._alarm is None:
            self._alarm = _first_not_finite(rows, "loss")
            if self._alarm is not None and self.first_bad_loss is None:
                self.first_bad_loss = self._alarm[1]
        if self._alarm is None:
            # A loss scaler that refuses a step has seen to it.
            taken = (rows["flags"].to_numpy() & StepFlag.SKIPPED) == 0
            self._alarm = _first_not_finite(rows.filter(pa.array(taken)), "grad_norm_total")

    def _is_alarmed(self, now_s: float) -> bool:
        """Whether a loss or a norm says that the training is about to end: all is written at once.

        A training may go on for days with a NaN, so that is done once per flush interval.
        """
        alarm, self._alarm = self._alarm, None
        if alarm is None or now_s < self._alarm_due_s:
            return False
        self._alarm_due_s = now_s + FLUSH_INTERVAL_S
        self.n_alarms += 1
        what, step, value = alarm
        subject, reason = ALARMS[what]
        self._publisher.event(
            "flush",
            f"the {subject} of step {step} is {value}: everything recorded so far was written "
            "at once",
            step=step,
            payload={"reason": reason, "step": step, what: value},
        )
        return True

    def tell_once(self, text: str) -> None:
        """Something that will not be done: a warning and an event, unless it was told before."""
        if self._publisher.warn_once(text, text):
            step = max(self._progress.last_step, 0)
            self._publisher.event("telemetry_error", text, step=step)

    def _packet_failed(self, error: Exception) -> None:
        self._tell_failure(error, "a sample is lost")

    def _batch_failed(self, error: Exception) -> None:
        self._tell_failure(error, "samples are written one by one")

    def _tell_failure(self, error: Exception, consequence: str) -> None:
        self._on_failure(error)
        kind = type(error).__name__
        text = f"{consequence}: {kind}: {error}"
        if self._publisher.warn_once(f"{consequence} {kind}", text):
            logger.debug("packets could not be turned into rows", exc_info=error)
            self._publisher.event("telemetry_error", text, step=max(self._progress.last_step, 0))

    def _tell_refused(self, count: int, step: int) -> None:
        self._publisher.warn_once(
            "queue", "the disk is slower than the training: samples are dropped, training goes on"
        )
        self._publisher.event(
            "dropped",
            f"{count} packets were dropped: the writer did not keep up",
            step=max(step, 0),
            payload={"packets": count},
        )

    def _write_manifest(self, status: Status, error: Mapping[str, Json] | None) -> None:
        self._progress.summary = dict(self._summary)
        if self._n_refused:
            self._progress.summary["dropped_packets"] = self._n_refused
        try:
            self._folder.write(self._progress, status=status, error=error)
        except OSError as failure:
            self._on_failure(failure)
            reason = failure.strerror or str(failure)
            self._publisher.warn_once("manifest", f"run.json was not written: {reason}")

    def _claim_not_ended(self, error: Exception) -> None:
        logger.debug("claim file not rewritten: %s", error)


def batches(packets: Sequence[Packet], *, up_to: int) -> list[list[Packet]]:
    """Packets in their order, those that may be joined together, of about 4 MiB at most.

    Args:
        packets: Oldest first.
        up_to: What holds a later step stays alone: it may have to wait for the rest of that step.
    """
    result: list[list[Packet]] = []
    open_batches: dict[object, tuple[list[Packet], int]] = {}
    for packet in packets:
        if not isinstance(packet, JointPacket) or packet.last_step > up_to:
            result.append([packet])
            continue
        batch, n_bytes = open_batches.get(packet.companions, ([], BATCH_BYTES))
        if n_bytes + packet.n_bytes > BATCH_BYTES:
            batch, n_bytes = [], 0
            result.append(batch)
        batch.append(packet)
        open_batches[packet.companions] = batch, n_bytes + packet.n_bytes
    return result


def _first_not_finite(rows: pa.Table, column: str) -> Alarm | None:
    """The first value of a column of `steps` that is known and not finite."""
    known = rows.filter(rows[column].is_valid())
    values = known[column].to_numpy()
    for index in np.flatnonzero(~np.isfinite(values))[:1]:
        return column, int(known["step"][index].as_py()), float(values[index])
    return None
