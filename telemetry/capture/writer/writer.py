"""RunWriter: the training thread's side of what reaches the disk."""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, cast

from telemetry.capture.environment.ranks import given_run_id
from telemetry.capture.event import Event
from telemetry.capture.isolation.contained import contained
from telemetry.capture.live.alerts import FindingNews
from telemetry.capture.live.diagnosis import (
    LiveDiagnosis,
    LookBudget,
    core_count,
    why_impossible,
)
from telemetry.capture.live.shard_merging import ShardMerging, can_merge
from telemetry.capture.packet import rows_packet
from telemetry.capture.steps.options import Options
from telemetry.capture.writer.claims import claim_run
from telemetry.capture.writer.flight_recorder import FlightRecorder
from telemetry.capture.writer.loop import FlushRequest, WriterLoop
from telemetry.capture.writer.publisher import event_record
from telemetry.capture.writer.run_folder import Progress, RunFolder, RunSettings
from telemetry.errors import CaptureError
from telemetry.format.live_findings import live_findings_name
from telemetry.format.manifest import Status
from telemetry.json_values import Json

if TYPE_CHECKING:
    from telemetry.capture.isolation.guard import Call

__all__ = ["RunSettings", "RunWriter"]

logger = logging.getLogger(__name__)

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
        keepers: Are told each step that has ended, by their part in the guard.
        put: Hands over a packet; it is dropped and counted when 64 MiB are waiting.
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
        self.keepers: tuple[tuple[str, Call], ...] = ()
        if flight is not None:
            self.keepers = (("flight recorder", cast("Call", flight.note)),)
        self._strict = strict
        self._clock = clock
        is_merged = self.claim.rank == 0 and can_merge()
        merging = ShardMerging(self.ref.path) if is_merged else None
        self._loop = WriterLoop(folder, flight=flight, merging=merging, clock=clock)
        self.put = self._loop.queue.put
        self.mark_step = self._loop.queue.mark_step
        self._news: FindingNews | None = None
        self._is_owned = True
        self._thread = threading.Thread(
            target=self._loop.run,
            args=(_working_directory(),),
            name="telemetry-writer",
            daemon=True,
        )

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
        return self._loop.failure

    @property
    def first_bad_loss(self) -> int | None:
        """The first step whose loss was seen not to be finite, so far."""
        return self._loop.alarms.first_bad_loss

    def start(self) -> None:
        """Start the thread.

        Raises:
            RuntimeError: the interpreter is ending.
        """
        self._thread.start()
        _open_writers.add(self)

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
            text = f"the run is not diagnosed while it trains: {reason}"
            logger.warning("telemetry: run %s: %s", self.ref.run, text)
            self.event("telemetry_error", text, step=0, severity="warning")
            return
        self._news = news
        self._loop.live = LiveDiagnosis(
            self.ref.path,
            self.ref.path / live_findings_name(self.claim.attempt),
            budget=LookBudget(
                share=options.overhead_budget,
                allowance_s=options.overhead_allowance_s,
                n_cores=core_count(),
            ),
            deliver=news.post,
            give_up=self._loop.tell_once,
            started_s=self._clock(),
        )

    def tell_changes(self, tell: Callable[[], None]) -> None:
        """Call this, on the writer thread, when the training begins to behave otherwise."""
        self._loop.changes.tell = tell

    def add_summary(self, **values: Json) -> None:
        """Values for the summary in run.json, from the next heartbeat on."""
        self._loop.summary.update(values)

    def flush(self, *, timeout_s: float) -> bool:
        """Write everything that was put before; False if that took too long or failed."""
        if not self._is_owned or self._loop.end is not None or not self._thread.is_alive():
            return False
        request = FlushRequest()
        self._loop.requests.append(request)
        self._loop.queue.wake.set()
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
        loop = self._loop
        if not self._is_owned or loop.is_finished:
            return
        loop.end = loop.end or (status, error)
        if self.flight is not None:
            with contained(self._flight_failed):  # the shards come first
                self.flight.write_kept()
        loop.queue.is_open = False
        loop.queue.wake.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.warning("telemetry: run %s: still writing after %g s", self.ref.run, timeout_s)
        else:
            loop.finish()  # does nothing unless the thread was lost
            _open_writers.discard(self)
        if self._strict and loop.failure is not None:
            raise CaptureError(
                f"run {self.ref.run}: not everything was recorded: {loop.failure}"
            ) from loop.failure

    def _flight_failed(self, error: Exception) -> None:
        logger.warning("telemetry: run %s: the flight recorder failed: %s", self.ref.run, error)

    def disown(self) -> None:
        """Become harmless in a forked child: nothing is written, no lock is waited for."""
        self._is_owned = False
        self._loop.queue.is_open = False
        if self.flight is not None:
            self.flight.close(keep=True)
        if self._news is not None:
            self._news.close()


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
