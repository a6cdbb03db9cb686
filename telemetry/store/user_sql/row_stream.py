"""Rows of a query in batches, under limits that hold for whoever writes them as well."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa

from telemetry.errors import UsageError
from telemetry.store.sessions.arrow_results import python_rows
from telemetry.store.sessions.memory import size_text
from telemetry.store.sessions.rows import SqlValue
from telemetry.store.user_sql.sandbox import default_memory_bytes

DEFAULT_TIMEOUT_S = 60.0
BATCH_ROWS = 10_000
INTERRUPT_AGAIN_S = 0.05
FEWER = "request fewer rows with --limit or an aggregate, or narrow --run or --since"


class ReadFailed(Exception):  # noqa: N818 - caught by the one who reads again
    """DuckDB or pyarrow gave up between two batches; `error` says why."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


class QueryLimits:
    """The time, memory and rows of one query, from now until its last row is written.

    Args:
        timeout_s: Longest time.
        memory_bytes: Most memory for DuckDB, and for the rows that are held; None means 2 GiB or a
            quarter of the machine's.
        most_rows: Most rows; None means all.
    """

    def __init__(
        self,
        *,
        timeout_s: float = DEFAULT_TIMEOUT_S,
        memory_bytes: int | None = None,
        most_rows: int | None = None,
    ) -> None:
        self.memory_bytes = memory_bytes or default_memory_bytes()
        self.most_rows = most_rows
        self.n_rows = 0
        self._timeout_s = timeout_s
        self._end_s = now() + timeout_s
        self._held_bytes = 0
        self._interrupted = threading.Event()

    def start_again(self) -> None:
        """Forget the rows of a try that failed; the time goes on."""
        self.n_rows = self._held_bytes = 0

    @contextmanager
    def interrupting(self, connection: duckdb.DuckDBPyConnection) -> Iterator[None]:
        """Interrupt what DuckDB does when the time is over."""
        stopped = threading.Event()
        left_s = max(0.0, self._end_s - now())

        def watch() -> None:
            wait_s = left_s
            # A statement that begins just then would forget the interrupt and run for ever.
            while not stopped.wait(wait_s):
                self._interrupted.set()
                connection.interrupt()
                wait_s = INTERRUPT_AGAIN_S

        watcher = threading.Thread(target=watch, name="telemetry-query-time", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            stopped.set()
            watcher.join()  # the connection is closed next

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Where an error is one of reading, or of the time that is over.

        Raises:
            UsageError: the time is over.
            ReadFailed: anything else.
        """
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if self._interrupted.is_set():
                raise self._too_long() from error
            raise ReadFailed(error) from error

    def check(self, batch: pa.RecordBatch) -> None:
        """Whether there are time and memory for one more batch.

        Raises:
            UsageError: there are not.
        """
        if self._interrupted.is_set() or now() >= self._end_s:
            raise self._too_long()
        if self._held_bytes + batch.nbytes > self.memory_bytes:
            raise self.too_much()

    def hold(self, batch: pa.RecordBatch) -> None:
        """Count a batch that stays in memory."""
        self._held_bytes += batch.nbytes

    def too_much(self) -> UsageError:
        """The error of too little memory."""
        return UsageError(
            f"the query needs more than {size_text(self.memory_bytes)} ({self._place()}); {FEWER}, "
            "or raise --memory."
        )

    def _too_long(self) -> UsageError:
        return UsageError(
            f"the query took more than {self._timeout_s:g} s ({self._place()}); {FEWER}, or raise "
            "--timeout."
        )

    def _place(self) -> str:
        return f"after {self.n_rows} rows" if self.n_rows else "before its first row"


class RowStream:
    """Rows as they are asked for; `truncated` is known after the last one."""

    def __init__(
        self,
        *,
        columns: tuple[tuple[str, str], ...],
        reader: pa.RecordBatchReader,
        limits: QueryLimits,
        warnings: tuple[str, ...],
    ) -> None:
        self.columns = columns
        self.schema = reader.schema
        self.warnings = warnings
        self.truncated = False
        self._reader = reader
        self._limits = limits
        # Most faults show here, when nobody has written a row yet and all can be read again.
        self._ahead = self._next()

    @property
    def n_rows(self) -> int:
        """Rows that were handed out."""
        return self._limits.n_rows

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        """Batches up to the limit of rows.

        Raises:
            UsageError: time or memory are used up.
            ReadFailed: DuckDB or pyarrow gave up.
        """
        batch = self._ahead
        while batch is not None and not self.truncated:
            self._ahead = None  # else two batches would be held
            self._limits.check(batch)
            most = self._limits.most_rows
            if most is not None and self.n_rows + batch.num_rows > most:
                self.truncated = True
                batch = batch.slice(0, most - self.n_rows)
            self._limits.n_rows += batch.num_rows
            yield batch
            batch = None if self.truncated else self._next()

    def rows(self) -> Iterator[tuple[SqlValue, ...]]:
        """Rows of Python values, up to the limit of rows.

        Raises:
            UsageError: time or memory are used up.
            ReadFailed: DuckDB or pyarrow gave up.
        """
        for batch in self:
            yield from python_rows(pa.Table.from_batches([batch]))

    def collected(self) -> pa.Table:
        """All rows in memory, which count against its limit.

        Raises:
            UsageError: time or memory are used up.
            ReadFailed: DuckDB or pyarrow gave up.
        """
        batches = []
        for batch in self:
            self._limits.hold(batch)
            batches.append(batch)
        return pa.Table.from_batches(batches, schema=self.schema)

    def _next(self) -> pa.RecordBatch | None:
        with self._limits.reading():
            return next(self._reader, None)


def now() -> float:
    """Seconds of a clock that never goes back."""
    return time.monotonic()
