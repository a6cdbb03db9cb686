"""Turns buffered rows into shards: when, under which names, and what happens if the disk refuses.

Owned by the writer thread. Reads no clock: the time is an argument.
"""

import contextlib
import errno
import logging
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime

import pyarrow as pa

from telemetry import json_values
from telemetry.capture.writer.row_buffer import RowBuffer
from telemetry.capture.writer.run_folder import Progress, RunFolder
from telemetry.capture.writer.run_summary import RunSummary
from telemetry.errors import SchemaMismatch
from telemetry.format.runs import new_shard_name
from telemetry.format.shards import table_folder, write_shard
from telemetry.format.tables import table
from telemetry.json_values import Json

logger = logging.getLogger(__name__)

# A run can be watched, and survives a kill, from its first second.
FIRST_FLUSHES_S = (1.0, 2.0, 5.0, 10.0, 20.0)
FLUSH_INTERVAL_S = 30.0
BUFFER_BYTES = 8 * 1024 * 1024
BUFFER_ROWS = 50_000
KEPT_BYTES = 64 * 1024 * 1024  # while the disk refuses
FAILURES_LIMIT = 3
PAUSE_S = 60.0
MESSAGE_LIMIT = 2000  # characters
# History, not statistics of a step: it is written while a long step or evaluation is going on.
AT_ANY_TIME = frozenset({"events", "metrics"})


class Publisher:
    """Flushes the rows of one run, on schedule or when they are many.

    Args:
        folder: Of the run.
        progress: Told the published shards, the metrics and the losses.
        started_s: Time from which the schedule counts.

    Attributes:
        buffer: The rows that wait.
        n_shards: Shards written so far.
        n_flushes: How often shards were written so far.
    """

    def __init__(self, folder: RunFolder, progress: Progress, *, started_s: float) -> None:
        self.buffer = RowBuffer(folder.claim.attempt, self._misfit)
        self.n_shards = 0
        self.n_flushes = 0
        self._folder = folder
        self._progress = progress
        self._summary = RunSummary()
        self._next_first: dict[str, int] = {}
        self._started_s = started_s
        self._n_scheduled = 0
        self._n_failures = 0
        self._paused_until_s = -float("inf")
        self._warned: set[str] = set()
        self._lost: Counter[str] = Counter()

    @property
    def due_s(self) -> float:
        """When the next flush is due."""
        n_later = self._n_scheduled - len(FIRST_FLUSHES_S)
        if n_later < 0:
            return self._started_s + FIRST_FLUSHES_S[self._n_scheduled]
        return self._started_s + FIRST_FLUSHES_S[-1] + FLUSH_INTERVAL_S * (n_later + 1)

    def flush_if_due(self, now_s: float, *, step: int) -> None:
        """Flush if the schedule or the amount of rows asks for it.

        Args:
            now_s: Time.
            step: Last step whose rows are all in the buffer.
        """
        buffer = self.buffer
        full = buffer.n_bytes >= BUFFER_BYTES or buffer.n_rows >= BUFFER_ROWS
        due = now_s >= self.due_s
        while now_s >= self.due_s:  # after a pause of the process, one flush is enough
            self._n_scheduled += 1
        if (due or full) and now_s >= self._paused_until_s:
            self.flush(now_s, step=step, up_to=step)
        self._give_up(KEPT_BYTES)

    def flush(self, now_s: float, *, step: int, up_to: int | None) -> bool:
        """Publish one shard of every table that has rows; True if nothing is left to be written.

        Args:
            now_s: Time.
            step: Last step observed: where the ranges of the shards end.
            up_to: Rows of later steps stay in the buffer; None: all are written.
        """
        self._tell_losses(step)
        n_before = self.n_shards
        for name in self.buffer.tables():
            limit = None if name in AT_ANY_TIME else up_to
            taken = self.buffer.take(name, up_to=limit)
            self._lose(name, taken.n_lost)
            if taken.rows is None:
                continue
            try:
                self._publish(name, taken.rows, step)
            except OSError as error:
                self.buffer.give_back(name, taken)
                self._failed(name, taken.rows.num_rows, error, now_s=now_s, step=step)
                return False
            except (SchemaMismatch, pa.ArrowException) as error:
                self._lose(name, taken.rows.num_rows)
                self._misfit(name, error)
        self._n_failures = 0
        self.n_flushes += self.n_shards > n_before
        return True

    def give_up_all(self, step: int) -> None:
        """Count rows that could not be written as lost, and record that if the disk has room.

        Args:
            step: Last step observed.
        """
        self._give_up(0)
        self._n_failures = 0  # where a large shard has no room, an event may
        self._tell_losses(step)
        taken = self.buffer.take("events", up_to=None)
        if taken.rows is not None:
            with contextlib.suppress(OSError):
                self._publish("events", taken.rows, step)

    def event(
        self,
        kind: str,
        message: str,
        *,
        step: int,
        severity: str = "warning",
        payload: Mapping[str, Json] | None = None,
    ) -> None:
        """Add a row of `events` from the writer thread."""
        record = event_record(kind, message, step=step, severity=severity, payload=payload)
        self.buffer.add_records("events", [record])

    def warn_once(self, cause: str, message: str) -> bool:
        """Log a warning once per cause; return whether it was logged now."""
        if cause in self._warned:
            return False
        self._warned.add(cause)
        logger.warning("telemetry: run %s: %s", self._folder.ref.run, message)
        return True

    def _publish(self, name: str, rows: pa.Table, step: int) -> None:
        # The run folder is never made again here: a run that was deleted stays deleted, and a
        # network folder that comes back finds its rows still in memory.
        if not self._folder.path.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the run folder is gone", str(self._folder.path))
        # Where a flush comes without a step since the last one (a long evaluation), the range runs
        # ahead of the steps: ranges of one attempt must not overlap.
        first = self._next_first.get(name, self._progress.first_step or 0)
        last = max(step, first)
        attempt, rank = self._folder.claim.attempt, self._folder.claim.rank
        shard = write_shard(
            table_folder(self._folder.path, name, rank),
            table(name),
            rows,
            new_shard_name(first=first, last=last, attempt=attempt),
        )
        self._next_first[name] = last + 1
        self.n_shards += 1
        self._progress.shards.append((name, shard))
        self._summary.observe(name, rows)
        self._progress.metrics = self._summary.metrics
        self._progress.n_steps = self._summary.n_steps
        if name == "steps":
            self._progress.loss_to = self._summary.loss_to
            self._progress.loss_trend = self._summary.loss_trend

    def _failed(self, name: str, n_rows: int, error: OSError, *, now_s: float, step: int) -> None:
        self._n_failures += 1
        if self._n_failures >= FAILURES_LIMIT:
            self._paused_until_s = now_s + PAUSE_S
            self._n_failures = 0
        reason = error.strerror or str(error)
        is_new = self.warn_once(
            f"errno {error.errno}",
            f"{reason}: {name} was not written; rows are kept in memory, up to 64 MiB, and "
            f"writing is tried again. Free some disk space or repair {self._folder.path}; "
            "training continues.",
        )
        if is_new:
            self.event(
                "flush",
                f"{reason}: rows were kept in memory and written later",
                step=step,
                payload={"errno": error.errno, "table": name, "rows": n_rows},
            )

    def _misfit(self, name: str, error: Exception) -> None:
        text = f"rows of {name} do not fit their table and are lost: {error}"
        if self.warn_once(f"misfit {name}", text):
            self.event("telemetry_error", text, step=self._progress.last_step)

    def _give_up(self, limit_bytes: int) -> None:
        for name, count in self.buffer.trim(limit_bytes).items():
            self._lose(name, count)

    def _lose(self, name: str, count: int) -> None:
        if count:
            self._lost[name] += count
            if not name.endswith(".hist"):
                self._progress.dropped_rows += count

    def _tell_losses(self, step: int) -> None:
        """One event about what was lost since the last one that could be written."""
        if self._lost and not self._n_failures:
            lost: dict[str, Json] = dict(self._lost)
            self._lost.clear()
            text = ", ".join(f"{count} of {name}" for name, count in sorted(lost.items()))
            self.event("dropped", f"rows were lost: {text}", step=step, payload=lost)


def event_record(
    kind: str,
    message: str,
    *,
    step: int,
    severity: str = "info",
    payload: Mapping[str, Json] | None = None,
) -> dict[str, object]:
    """A row of `events` that happens now."""
    return {
        "step": step,
        "wall_time": datetime.now(UTC).replace(tzinfo=None),
        "kind": kind,
        "severity": severity,
        "message": message[:MESSAGE_LIMIT].encode("utf-8", "backslashreplace").decode(),
        "payload": json_values.dumps(payload or {}),
    }
