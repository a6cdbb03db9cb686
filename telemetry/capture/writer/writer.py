"""RunWriter: everything that reaches the disk goes through its background thread."""

import logging
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from telemetry.capture.environment.ranks import given_run_id
from telemetry.capture.event import Event
from telemetry.capture.isolation.contained import contained
from telemetry.capture.live.alerts import FindingNews
from telemetry.capture.live.diagnosis import LiveDiagnosis, why_impossible
from telemetry.capture.live.look_budget import LookBudget, core_count
from telemetry.capture.live.shard_merging import ShardMerging, can_merge
from telemetry.capture.packet import Packet, rows_packet
from telemetry.capture.steps.options import Options
from telemetry.capture.writer.claims import claim_run
from telemetry.capture.writer.flight_recorder import FlightRecorder
from telemetry.capture.writer.inbox import Inbox
from telemetry.capture.writer.publisher import event_record
from telemetry.capture.writer.pump import Pump
from telemetry.capture.writer.run_folder import Progress, RunFolder, RunSettings
from telemetry.errors import CaptureError
from telemetry.format.live_findings import live_findings_name
from telemetry.format.manifest import Status
from telemetry.json_values import Json

__all__ = ["RunSettings", "RunWriter"]

logger = logging.getLogger(__name__)

TURN_INTERVAL_S = 1.0  # tensors of packets leave the device within it
SHORTEST_TURN_S = 0.05  # even if something is always overdue
CLOSE_TIMEOUT_S = 30.0

_open_writers: weakref.WeakSet["RunWriter"] = weakref.WeakSet()


class RunWriter:
    """Records one run; made by `open`. All methods may be called from the training thread.

    Args:
        folder: Of the run.
        flight: Where the last steps are kept beside the shards, or None.
        strict: Raise at the end if something was not recorded.
        clock: Monotonic seconds.

    Attributes:
        claim: The attempt that is recorded.
        ref: The run and its folder.
        world_size: Processes that record it.
        flight: The flight recorder; None when it is off.
        mark_step: Notes that a step has ended, after its packets were put.
    """

    def __init__(
        self,
        folder: RunFolder,
        *,
        flight: FlightRecorder | None = None,
        strict: bool,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.claim = folder.claim
        self.ref = folder.ref
        self.world_size = folder.world_size
        self.flight = flight
        self._strict = strict
        self._clock = clock
        self._inbox = Inbox()
        self.mark_step = self._inbox.mark_step
        self._summary: dict[str, Json] = {}
        self._failure: Exception | None = None
        self._pump = Pump(
            folder,
            self._inbox,
            self._summary,
            flight=flight,
            started_s=clock(),
            on_failure=self._note_failure,
        )
        is_merged = self.claim.rank == 0 and can_merge()
        self._merging = ShardMerging(self.ref.path) if is_merged else None
        self._live: LiveDiagnosis | None = None
        self._news: FindingNews | None = None
        self._flushes: deque[_Flush] = deque()
        self._end: tuple[Status, Mapping[str, Json] | None] | None = None
        self._is_owned = True
        self._finishing = threading.Lock()
        self._is_finished = False
        self._directory = _working_directory()
        self._thread = threading.Thread(target=self._run, name="telemetry-writer", daemon=True)

    @classmethod
    def open(
        cls, settings: RunSettings, *, flight_steps: int = 0, strict: bool = False
    ) -> "RunWriter":
        """Make the run folder, or the next attempt of a run, and start the thread.

        The id is `settings.run_id`, else `$TELEMETRY_RUN_ID`, else a new one.

        Args:
            settings: Of the run.
            flight_steps: Steps that the flight recorder keeps; 0: there is none.
            strict: Raise instead of recording under another id, and when something was not
                recorded, at the end.

        Raises:
            CaptureError: the folder cannot be created or written.
            UsageError: the id could not be a folder's name.
        """
        run = settings.run_id or given_run_id(strict=strict)
        claim = claim_run(settings.store, settings.project, run, rank=settings.rank, strict=strict)
        folder = RunFolder(claim, settings)
        try:
            folder.write(Progress())
            flight = _flight_recorder(folder, flight_steps)
            writer = cls(folder, flight=flight, strict=strict)
            writer.start()
        except (OSError, RuntimeError) as error:  # RuntimeError: no thread can be started
            raise CaptureError(f"{claim.ref.path}: recording cannot begin ({error}).") from error
        if claim.conflict_of is not None:
            text = f"run {claim.conflict_of} is being written by another process"
            payload: dict[str, Json] = {"conflict_of": claim.conflict_of}
            writer.event("conflict", text, step=0, severity="warning", payload=payload)
        return writer

    @property
    def is_owned(self) -> bool:
        """Whether this process records the run: false in a child that was forked from it."""
        return self._is_owned

    @property
    def failure(self) -> Exception | None:
        """The first thing that could not be recorded."""
        return self._failure

    @property
    def first_bad_loss(self) -> int | None:
        """The first step whose loss was seen not to be finite, so far."""
        return self._pump.first_bad_loss

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the interpreter is ending.
        """
        self._thread.start()
        _open_writers.add(self)

    def put(self, packet: Packet) -> None:
        """Hand over a packet; it is dropped and counted when 64 MiB are waiting."""
        self._inbox.put(packet)

    def event(
        self,
        kind: str,
        message: str,
        *,
        step: int,
        severity: str = "info",
        payload: Mapping[str, Json] | None = None,
        module_id: int | None = None,
        tensor_id: int | None = None,
    ) -> None:
        """Add a row of `events` that happens now."""
        record = event_record(kind, message, step=step, severity=severity, payload=payload)
        self.put(
            rows_packet("events", [{**record, "module_id": module_id, "tensor_id": tensor_id}])
        )

    def emit(self, event: Event, *, step: int) -> None:
        """Add an event that was described elsewhere."""
        self.event(
            event.kind, event.message, step=step, severity=event.severity, payload=event.payload
        )

    def judge(self, news: FindingNews, options: Options) -> None:
        """From now on, have the run judged while it is recorded, if somebody wants to be told.

        Args:
            news: Told the findings. Other ranks than the first have none of their own.
            options: What it may cost.
        """
        if not news.is_wanted or self.claim.rank != 0:
            return
        reason = why_impossible()
        if reason is not None:
            text = f"nothing is judged while it trains: {reason}"
            logger.warning("telemetry: run %s: %s", self.ref.run, text)
            self.event("telemetry_error", text, step=0, severity="warning")
            return
        self._news = news
        self._live = LiveDiagnosis(
            self.ref.path,
            self.ref.path / live_findings_name(self.claim.attempt),
            budget=LookBudget(
                share=options.overhead_budget,
                allowance_s=options.overhead_allowance_s,
                n_cores=core_count(),
            ),
            deliver=news.post,
            give_up=self._pump.tell_once,
            started_s=self._clock(),
        )

    def tell_changes(self, tell: Callable[[], None]) -> None:
        """Call this, on the writer thread, when the training begins to behave otherwise."""
        self._pump.changes.tell = tell

    def add_summary(self, **values: Json) -> None:
        """Values for the summary in run.json, from the next heartbeat on."""
        self._summary.update(values)

    def flush(self, *, timeout_s: float) -> bool:
        """Write everything that was put before; False if that took too long or failed."""
        if not self._is_owned or self._end is not None or not self._thread.is_alive():
            return False
        request = _Flush()
        self._flushes.append(request)
        self._inbox.wake.set()
        return request.done.wait(timeout_s) and request.succeeded

    def close(
        self,
        status: Status,
        *,
        error: Mapping[str, Json] | None = None,
        timeout_s: float = CLOSE_TIMEOUT_S,
    ) -> None:
        """End the run: write what is left and the final manifest; harmless when called again.

        Args:
            status: `finished` or `failed`.
            error: Type and message of what ended the training.
            timeout_s: How long to wait for the disk; the thread goes on after it.

        Raises:
            CaptureError: with `strict`, if something was not recorded.
        """
        if not self._is_owned or self._is_finished:
            return
        self._end = self._end or (status, error)
        if self.flight is not None:
            self.flight.write_kept()
        self._inbox.is_open = False
        self._inbox.wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.warning("telemetry: run %s: still writing after %g s", self.ref.run, timeout_s)
        else:
            self._finish()  # does nothing unless the thread was lost
            _open_writers.discard(self)
        if self._strict and self._failure is not None:
            raise CaptureError(
                f"run {self.ref.run}: not everything was recorded: {self._failure}"
            ) from self._failure

    def disown(self) -> None:
        """Become harmless in a forked child: nothing is written, no lock is waited for."""
        self._is_owned = False
        self._inbox.is_open = False
        if self.flight is not None:
            self.flight.close(keep=True)
        if self._news is not None:
            self._news.close()

    def _run(self) -> None:
        with contained(self._turn_failed):
            self._pump.begin(self._directory)
        while self._end is None:
            wait_s = min(TURN_INTERVAL_S, self._pump.due_s - self._clock())
            self._inbox.wake.wait(max(wait_s, SHORTEST_TURN_S))
            self._inbox.wake.clear()
            self._turn()
        self._finish()

    def _turn(self) -> None:
        requests = [self._flushes.popleft() for _ in range(len(self._flushes))]
        done = False
        with contained(self._turn_failed):
            done = self._pump.turn(self._clock(), flush=bool(requests))
        if self._merging is not None:
            with contained(self._merging_failed):
                if self._merging.turn(self._pump.n_flushes):
                    self._pump.forget_merged()
        if self._live is not None:
            with contained(self._live_failed):
                pump = self._pump
                self._live.turn(self._clock(), n_shards=pump.n_shards, n_alarms=pump.n_alarms)
        for request in requests:
            request.succeeded = done
            request.done.set()

    def _finish(self) -> None:
        with self._finishing:
            if self._is_finished or self._end is None:
                return
            status, error = self._end
            if self._merging is not None:
                with contained(self._merging_failed):
                    self._merging.close()
            if self._live is not None:
                with contained(self._live_failed):
                    self._live.close()
            with contained(self._turn_failed):
                self._pump.finish(self._clock(), status, error)
            self._is_finished = True  # last: a second close() waits for the first
        for request in self._flushes:
            request.done.set()

    def _turn_failed(self, error: Exception) -> None:
        if self._failure is None:
            logger.warning("telemetry: run %s: writing failed", self.ref.run, exc_info=error)
        self._note_failure(error)

    def _live_failed(self, error: Exception) -> None:
        self._live = None
        self._pump.tell_once(f"nothing is judged any more: {type(error).__name__}: {error}")

    def _merging_failed(self, error: Exception) -> None:
        self._merging = None
        logger.debug("shards are not merged any more: %s", error)

    def _note_failure(self, error: Exception) -> None:
        self._failure = self._failure or error


class _Flush:
    """A wish of the training thread, and whether it came true."""

    __slots__ = ("done", "succeeded")

    def __init__(self) -> None:
        self.done = threading.Event()
        self.succeeded = False


def _flight_recorder(folder: RunFolder, n_slots: int) -> FlightRecorder | None:
    if not n_slots:
        return None
    claim = folder.claim
    return FlightRecorder(
        folder.path,
        attempt=claim.attempt,
        rank=claim.rank,
        n_slots=n_slots,
        clock=time.perf_counter,
    )


def _working_directory() -> Path | None:
    try:
        return Path.cwd()
    except OSError:
        return None


def _disown_all() -> None:
    for writer in list(_open_writers):
        writer.disown()
    _open_writers.clear()


if hasattr(os, "register_at_fork"):
    # A DataLoader worker holds a copy of the callback and of half-written buffers, and no thread.
    os.register_at_fork(after_in_child=_disown_all)
