"""The writer thread: its bounded queue of packets, and the loop that turns them into shards."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from telemetry.capture.budget.changes import ChangeWatch
from telemetry.capture.environment.numerics import library_versions
from telemetry.capture.environment.repository import git_state
from telemetry.capture.isolation.contained import contained
from telemetry.capture.live.shard_merging import ShardMerging
from telemetry.capture.packet import JointPacket, Packet, RowsPacket, batches
from telemetry.capture.writer.alarms import Alarms
from telemetry.capture.writer.flight_recorder import FlightRecorder
from telemetry.capture.writer.publisher import Publisher
from telemetry.capture.writer.run_folder import Progress, RunFolder
from telemetry.errors import CaptureError
from telemetry.format.manifest import HEARTBEAT_INTERVAL_S, Status
from telemetry.format.shards import sweep_parts
from telemetry.json_values import Json

if TYPE_CHECKING:
    from telemetry.capture.live.diagnosis import LiveDiagnosis

logger = logging.getLogger(__name__)

QUEUED_BYTES_LIMIT = 64 * 1024 * 1024
# Steps, metrics and events are small and are what a run cannot be understood without.
HOST_ROWS_EXTRA_BYTES = 16 * 1024 * 1024
WAKE_BYTES = 4 * 1024 * 1024
NO_STEP = -1
TURN_INTERVAL_S = 1.0  # tensors of packets leave the device within it
SHORTEST_TURN_S = 0.05  # even if something is always overdue
PART_AGE_S = 3600.0


class PacketQueue:
    """Packets on their way, and how far training has come: never blocks, never raises, is bounded.

    The training side only adds to its counters and the writer side to its own, so neither waits
    for the other.

    Attributes:
        is_open: Packets are taken; false after the end and in a forked child.
        wake: Set when the writer thread has something to do before its time.
        first_step: First step marked, None before it.
        last_step: Last step marked.
        n_refused: Packets dropped because too many bytes were waiting.
    """

    def __init__(self) -> None:
        self.is_open = True
        self.wake = threading.Event()
        self.first_step: int | None = None
        self.last_step = NO_STEP
        self.n_refused = 0
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


class FlushRequest:
    """A wish of the training thread, and whether it came true."""

    __slots__ = ("done", "succeeded")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.succeeded = False


class WriterLoop:
    """Empties the queue into a run folder, turn by turn, until it is told to end.

    Args:
        folder: Of the run.
        flight: Told the values that had not left their device when their step ended.
        merging: Has the shards merged meanwhile; None: nobody does.
        clock: Monotonic seconds.

    Attributes:
        queue: What training has put.
        summary: Values for the manifest's summary; training adds to it.
        alarms: What says that the training is about to end.
        changes: Notices that the training begins to behave otherwise.
        requests: Everything is to be written now; oldest first.
        live: Has the run judged meanwhile; None: nobody does.
        end: How the run has ended, and by which error; None: it goes on.
        failure: The first thing that could not be recorded.
        is_finished: The last turn is over.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        flight: FlightRecorder | None = None,
        merging: ShardMerging | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.queue = PacketQueue()
        self.summary: dict[str, Json] = {}
        self.alarms = Alarms()
        self.changes = ChangeWatch()
        self.requests: deque[FlushRequest] = deque()
        self.live: LiveDiagnosis | None = None
        self.end: tuple[Status, Mapping[str, Json] | None] | None = None
        self.failure: Exception | None = None
        self.is_finished = False
        self._folder = folder
        self._flight = flight
        self._merging = merging
        self._clock = clock
        started_s = clock()
        self._progress = Progress()
        self._publisher = Publisher(folder, self._progress, started_s=started_s)
        self._heartbeat_due_s = started_s + HEARTBEAT_INTERVAL_S
        self._attempt_is_entered = False
        self._n_refused = 0
        self._finishing = threading.Lock()

    # --- the thread ---------------------------------------------------------------------------

    def run(self, working_directory: Path | None) -> None:
        """Take turns until the end; what the thread does."""
        with contained(self._turn_failed):
            self.begin(working_directory)
        while self.end is None:
            wait_s = min(TURN_INTERVAL_S, self.due_s - self._clock())
            self.queue.wake.wait(max(wait_s, SHORTEST_TURN_S))
            self.queue.wake.clear()
            self._go_round()
        self.finish()

    def finish(self) -> None:
        """Take the last turn, once; whoever closes the run calls it if the thread was lost."""
        with self._finishing:
            if self.is_finished or self.end is None:
                return
            status, error = self.end
            if self._merging is not None:
                with contained(self._merging_failed):
                    self._merging.close()
            if self.live is not None:
                with contained(self._live_failed):
                    self.live.close()
            with contained(self._turn_failed):
                self.last_turn(self._clock(), status, error)
            self.is_finished = True  # last: a second close() waits for the first
        for request in self.requests:
            request.done.set()

    def _go_round(self) -> None:
        requests = [self.requests.popleft() for _ in range(len(self.requests))]
        done = False
        with contained(self._turn_failed):
            done = self.turn(self._clock(), flush=bool(requests))
        if self._merging is not None:
            with contained(self._merging_failed):
                if self._merging.turn(self._publisher.n_flushes):
                    self._forget_merged()
        if self.live is not None:
            with contained(self._live_failed):
                n_shards, n_alarms = self._publisher.n_shards, self.alarms.n_raised
                self.live.turn(self._clock(), n_shards=n_shards, n_alarms=n_alarms)
        for request in requests:
            request.succeeded = done
            request.done.set()

    # --- one turn -----------------------------------------------------------------------------

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
        if self._flight is not None:
            self._flight.write_waiting()
        alarm = self.alarms.take(now_s)
        if alarm is not None:
            flush = True
            self._publisher.event("flush", alarm.message, step=alarm.step, payload=alarm.payload())
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

    def last_turn(self, now_s: float, status: Status, error: Mapping[str, Json] | None) -> None:
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
            self._note_failure(CaptureError(text))
        with contained(self._claim_not_ended):
            self._folder.claim.end()

    def tell_once(self, text: str) -> None:
        """Something that will not be done: a warning and an event, unless it was told before."""
        if self._publisher.warn_once(text, text):
            step = max(self._progress.last_step, 0)
            self._publisher.event("telemetry_error", text, step=step)

    def _collect(self) -> int:
        """Move packets into the buffer; returns the last step whose packets are all there."""
        queue, progress = self.queue, self._progress
        step = queue.last_step  # before taking: what was put before the mark is among the taken
        # What is not finite is recorded as it is, without a warning in somebody's training.
        with np.errstate(all="ignore"):
            for packets in batches(queue.take(), up_to=step):
                for packet in packets if len(packets) == 1 else self._not_joined(packets):
                    with contained(self._packet_failed):
                        self._buffer(packet)
        if progress.first_step is None and queue.first_step is not None:
            progress.first_step = queue.first_step
        progress.last_step = max(progress.last_step, step)
        if queue.n_refused > self._n_refused:
            self._tell_refused(queue.n_refused - self._n_refused, step)
            self._n_refused = queue.n_refused
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
                if self._flight is not None:
                    self._flight.settle(rows)
                self.alarms.watch(rows)
                self.changes.see(rows)

    def _forget_merged(self) -> None:
        """Leave shards that were merged and removed out of the manifest."""
        shards = self._progress.shards
        shards[:] = [(name, shard) for name, shard in shards if shard.path.exists()]

    def _write_manifest(self, status: Status, error: Mapping[str, Json] | None) -> None:
        self._progress.summary = dict(self.summary)
        if self._n_refused:
            self._progress.summary["dropped_packets"] = self._n_refused
        try:
            self._folder.write(self._progress, status=status, error=error)
        except OSError as failure:
            self._note_failure(failure)
            reason = failure.strerror or str(failure)
            self._publisher.warn_once("manifest", f"run.json was not written: {reason}")

    # --- what goes wrong ----------------------------------------------------------------------

    def _turn_failed(self, error: Exception) -> None:
        if self.failure is None:
            run = self._folder.ref.run
            logger.warning("telemetry: run %s: writing failed", run, exc_info=error)
        self._note_failure(error)

    def _live_failed(self, error: Exception) -> None:
        self.live = None
        self.tell_once(f"the run is no longer diagnosed: {type(error).__name__}: {error}")

    def _merging_failed(self, error: Exception) -> None:
        self._merging = None
        logger.debug("shards are no longer merged: %s", error)

    def _packet_failed(self, error: Exception) -> None:
        self._tell_failure(error, "a sample is lost")

    def _batch_failed(self, error: Exception) -> None:
        self._tell_failure(error, "samples are written one by one")

    def _tell_failure(self, error: Exception, consequence: str) -> None:
        self._note_failure(error)
        kind = type(error).__name__
        text = f"{consequence}: {kind}: {error}"
        if self._publisher.warn_once(f"{consequence} {kind}", text):
            logger.debug("packets could not be turned into rows", exc_info=error)
            self._publisher.event("telemetry_error", text, step=max(self._progress.last_step, 0))

    def _tell_refused(self, count: int, step: int) -> None:
        self._publisher.warn_once(
            "queue", "the disk is slower than the training: samples are dropped, training continues"
        )
        self._publisher.event(
            "dropped",
            f"{count} packets were dropped because the writer could not keep up",
            step=max(step, 0),
            payload={"packets": count},
        )

    def _claim_not_ended(self, error: Exception) -> None:
        logger.debug("the claim file was not rewritten: %s", error)

    def _note_failure(self, error: Exception) -> None:
        self.failure = self.failure or error
