"""Statements that a user typed: one SELECT, over registered data sets, with nothing else allowed.

Neither the lock nor the type of a statement alone is read-only: DuckDB 2.0 classes
`WITH x AS (COPY ... TO ...) SELECT 1` as SELECT and runs it. So the connection may open no file
at all, the shards are there as pyarrow data sets only, and what DuckDB may write is one empty
folder of its own that is removed afterwards.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from telemetry.errors import StoreUnreadable, TelemetryError, UsageError
from telemetry.store import sql
from telemetry.store.arrow_results import plain_numbers
from telemetry.store.binding import Binder, known_names
from telemetry.store.catalog import Run
from telemetry.store.datasets import Datasets
from telemetry.store.listing import Listing
from telemetry.store.locked import default_memory_bytes, locked_connection
from telemetry.store.memory import size_text
from telemetry.store.reference import ViewColumn, describe_views
from telemetry.store.rows import SqlValue
from telemetry.store.session import READ_TRIES
from telemetry.store.statements import (
    MISTAKES,
    first_line,
    is_out_of_memory,
    mistake,
    one_select,
    referenced_names,
)
from telemetry.store.store import Store

__all__ = ["QueryResult", "ViewColumn", "describe_views", "query_runs"]

DEFAULT_TIMEOUT_S = 60.0
BATCH_ROWS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """Rows of a statement; `truncated` says that there are more than `limit`."""

    columns: tuple[tuple[str, str], ...]
    arrow: pa.Table
    truncated: bool
    warnings: tuple[str, ...]


def query_runs(
    store: Store,
    statement: str,
    *,
    runs: Sequence[Run] | None = None,
    limit: int | None = None,
    memory_bytes: int | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    parameters: Mapping[str, SqlValue] | None = None,
) -> QueryResult:
    """Rows of one SELECT that somebody typed; it can read the views and do nothing else.

    Args:
        store: Where the runs lie.
        statement: One SELECT, WITH, FROM, VALUES, SHOW, DESCRIBE or SUMMARIZE.
        runs: What the views show; every run of the store when None.
        limit: Most rows to return.
        memory_bytes: Most memory for DuckDB; None means 2 GiB or a quarter of the machine's.
        timeout_s: Longest time.
        parameters: Values of `$name` in the statement.

    Raises:
        UsageError: the statement is wrong, is not one SELECT, reaches for what is outside, or
            needs more time or memory.
        StoreUnreadable: the shards changed faster than they could be listed again.
    """
    chosen = store.runs() if runs is None else runs
    listing = Listing(chosen)
    memory = memory_bytes or default_memory_bytes()
    for _ in range(READ_TRIES):
        try:
            with locked_connection(memory) as connection:
                query = _Query(connection, listing, timeout_s)
                return query.run(statement, parameters or {}, limit)
        except MISTAKES as error:
            raise _explained(error, memory) from error
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            failure = error
        if not listing.exclude_unreadable():
            raise _explained(failure, memory) from failure
    raise StoreUnreadable(
        f"the shards changed {READ_TRIES} times while they were read ({failure}); try again."
    ) from failure


class _Query:
    """One statement on one locked connection."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, listing: Listing, timeout_s: float
    ) -> None:
        self._connection = connection
        self._listing = listing
        self._timeout_s = timeout_s
        self._binder = Binder(
            connection, listing, Datasets(), all_attempts=False, computed_once_rows=0
        )

    def run(
        self, statement: str, parameters: Mapping[str, SqlValue], limit: int | None
    ) -> QueryResult:
        parsed = one_select(self._connection, statement)
        names = referenced_names(self._connection, statement)
        # SHOW TABLES names nothing and means everything.
        self._binder.bind(sorted(names or known_names()))
        with self._time_limit():
            relation = self._connection.sql(parsed, params=dict(parameters) or None)
            columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
            arrow, truncated = _up_to(relation.to_arrow_reader(BATCH_ROWS), limit)
        return QueryResult(
            columns=columns,
            arrow=plain_numbers(arrow),
            truncated=truncated,
            warnings=self._listing.warnings,
        )

    @contextmanager
    def _time_limit(self) -> Iterator[None]:
        """Interrupt what runs longer; the error arrives as one of DuckDB or of pyarrow."""
        late = threading.Event()

        def interrupt() -> None:
            late.set()
            self._connection.interrupt()

        timer = threading.Timer(self._timeout_s, interrupt)
        timer.start()
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            if not late.is_set():
                raise
            raise UsageError(
                f"the query took more than {self._timeout_s:g} s; narrow --run or --since, or "
                "raise --timeout."
            ) from error
        finally:
            timer.cancel()


def _up_to(reader: pa.RecordBatchReader, limit: int | None) -> tuple[pa.Table, bool]:
    if limit is None:
        return reader.read_all(), False
    batches, n_rows = [], 0
    for batch in reader:
        batches.append(batch)
        n_rows += batch.num_rows
        if n_rows > limit:
            break
    return pa.Table.from_batches(batches, schema=reader.schema).slice(0, limit), n_rows > limit


def _explained(error: Exception, memory_bytes: int) -> TelemetryError:
    message = first_line(error)
    if is_out_of_memory(error):
        return UsageError(
            f"the query needs more than {size_text(memory_bytes)}; raise --memory or narrow "
            "--run or --since."
        )
    if isinstance(error, duckdb.PermissionException):
        return UsageError(f"a query reads the views of this store and nothing else. {message}")
    if isinstance(error, duckdb.CatalogException):
        return UsageError(f"{message} Views: {', '.join(sql.PUBLIC_VIEWS)}.")
    if isinstance(error, duckdb.Error):
        return UsageError(mistake(error))
    return StoreUnreadable(f"the store could not be read: {message}")
