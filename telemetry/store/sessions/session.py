"""A session: DuckDB in memory over the shards of chosen runs, for statements of the product."""

import os
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa

from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.tables import table
from telemetry.store.files.shard_file import ShardFile
from telemetry.store.runs.listing import Listing
from telemetry.store.runs.run import Run
from telemetry.store.sessions.arrow_results import plain_numbers
from telemetry.store.sessions.binding import (
    COMPUTED_ONCE,
    COMPUTED_ONCE_ROWS,
    READ_BY_MANY,
    Binder,
    ParquetFiles,
)
from telemetry.store.sessions.memory import (
    SPILL_BYTES,
    new_spill_folder,
    shared_memory_bytes,
    size_text,
)
from telemetry.store.sessions.rows import Rows, SqlValue
from telemetry.store.sessions.sql import scan_by_value
from telemetry.store.sessions.statements import (
    MISTAKES,
    first_line,
    is_out_of_memory,
    one_select,
    referenced_names,
)

MAX_THREADS = 4
READ_TRIES = 5
BATCH_ROWS = 50_000

CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "allow_community_extensions": False,
    "python_enable_replacements": False,
}


class Session:
    """Views over the live shards of some runs; use as a context manager.

    What is computed once (catalogues, layers, activations) is a snapshot of the moment it was
    first asked for; open a new session to see what a running run has written since.
    """

    def __init__(
        self, runs: Sequence[Run], *, all_attempts: bool = False, many_statements: bool = False
    ) -> None:
        self._listing = Listing(runs)
        self._all_attempts = all_attempts
        self._computed_once = COMPUTED_ONCE | (READ_BY_MANY if many_statements else frozenset())
        self._connection = _connect()
        self._binder = self._new_binder()

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs that the views show."""
        return self._listing.runs

    @property
    def warnings(self) -> tuple[str, ...]:
        """Files and runs that were skipped, and why; grows as tables are read."""
        return self._listing.warnings

    def query(self, sql: str, parameters: Mapping[str, SqlValue] | None = None) -> Rows:
        """Rows of one SELECT over the views.

        Args:
            sql: A statement with named parameters (`$run`).
            parameters: Their values; those the statement does not mention are left out.

        Raises:
            UsageError: the statement is wrong, or the runs need too much memory.
            StoreUnreadable: files changed or broke faster than they could be listed again.
        """
        for _ in range(READ_TRIES):
            try:
                return self._run(sql, parameters or {})
            except MISTAKES as error:
                failure: duckdb.Error = error
                if not self._listing.exclude_misfits():
                    raise _as_ours(error, sql) from error
                self._rebind()
                continue
            except duckdb.Error as error:
                failure = error
            if not self._listing.exclude_unreadable(_scan_fault):
                raise _as_ours(failure, sql) from failure
            self._rebind()
        raise StoreUnreadable(
            f"the shards changed {READ_TRIES} times while they were read ({failure}); try again."
        ) from failure

    def batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Rows of one SELECT without parameters, streamed; a read that fails is not repeated.

        Raises:
            UsageError: the statement is wrong, or the run needs too much memory.
            StoreUnreadable: a shard vanished or cannot be read.
        """
        try:
            self._binder.bind(sorted(referenced_names(self._connection, sql)))
            yield from self._connection.sql(sql).to_arrow_reader(BATCH_ROWS)
        except (duckdb.Error, pa.ArrowException) as error:
            raise _as_ours(error, sql) from error

    def close(self) -> None:
        """Free the connection; closing twice is fine."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, sql: str, parameters: Mapping[str, SqlValue]) -> Rows:
        statement = one_select(self._connection, sql)
        self._binder.bind(sorted(referenced_names(self._connection, sql)))
        wanted = statement.named_parameters
        used = {name: value for name, value in parameters.items() if name in wanted}
        result = self._connection.sql(statement, params=used or None)
        return Rows(plain_numbers(result.to_arrow_table()))

    def _new_binder(self) -> Binder:
        return Binder(
            self._connection,
            self._listing,
            ParquetFiles(),
            open_session=Session,
            all_attempts=self._all_attempts,
            computed_once_rows=COMPUTED_ONCE_ROWS,
            computed_once=self._computed_once,
        )

    def _rebind(self) -> None:
        self._connection.close()
        self._connection = _connect()
        self._binder = self._new_binder()


def thread_count() -> int:
    """Threads for DuckDB: the cores this process may use, at most four."""
    if hasattr(os, "sched_getaffinity"):
        return min(MAX_THREADS, len(os.sched_getaffinity(0)))
    return min(MAX_THREADS, os.cpu_count() or 1)


def _connect() -> duckdb.DuckDBPyConnection:
    limits: dict[str, str | bool | int | float | list[str]] = {
        "threads": thread_count(),
        "memory_limit": f"{shared_memory_bytes()}B",
        # Else DuckDB would spill into a folder `.tmp` of wherever the command was started.
        "temp_directory": str(new_spill_folder()),
        "max_temp_directory_size": f"{SPILL_BYTES}B",
    }
    return duckdb.connect(":memory:", config=CONFIG | limits)


def _scan_fault(file: ShardFile) -> str:
    """Why DuckDB cannot read every page of a shard, '' when it can."""
    scan = scan_by_value(
        table(file.table), [str(file.path)], version=file.version, project="", run="", rank=0
    )
    try:
        with _connect() as connection:
            for _ in connection.sql(scan).to_arrow_reader(BATCH_ROWS):
                pass
    except (duckdb.Error, pa.ArrowException) as error:
        return f"not a readable shard ({first_line(error)})."
    return ""


def _as_ours(error: Exception, sql: str) -> UsageError | StoreUnreadable:
    """The error of DuckDB in the one tree of errors, first line only."""
    message = first_line(error)
    if is_out_of_memory(error):
        return UsageError(
            f"these runs need more than {size_text(shared_memory_bytes())} of memory, the share "
            "that a reader may use on this machine beside a training; name fewer runs, or read "
            "the store on a machine with more memory."
        )
    if isinstance(error, duckdb.IOException | pa.ArrowException):
        return StoreUnreadable(f"the store could not be read: {message}")
    return UsageError(f"{message} In: {' '.join(sql.split())}")
