"""Statements that a user typed: one SELECT, over registered data sets, with nothing else allowed.

Neither the lock nor the type of a statement alone is read-only: DuckDB 2.0 classes
`WITH x AS (COPY ... TO ...) SELECT 1` as SELECT and runs it. So the connection may open no file
at all, the shards are there as pyarrow data sets only, and what DuckDB may write is one empty
folder of its own that is removed afterwards.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import duckdb
import pyarrow as pa

from telemetry.errors import StoreUnreadable, TelemetryError, UsageError
from telemetry.store.runs.listing import Listing
from telemetry.store.runs.run import Run
from telemetry.store.sessions import sql
from telemetry.store.sessions.arrow_results import plain_numbers, python_rows
from telemetry.store.sessions.binding import Binder, known_names
from telemetry.store.sessions.rows import SqlValue
from telemetry.store.sessions.session import READ_TRIES, Session
from telemetry.store.sessions.statements import (
    MISTAKES,
    first_line,
    is_out_of_memory,
    mistake,
    one_select,
    referenced_names,
)
from telemetry.store.store import Store
from telemetry.store.user_sql.datasets import Datasets
from telemetry.store.user_sql.reference import ViewColumn, describe_views
from telemetry.store.user_sql.row_stream import (
    BATCH_ROWS,
    DEFAULT_TIMEOUT_S,
    QueryLimits,
    ReadFailed,
    RowStream,
)
from telemetry.store.user_sql.sandbox import locked_connection

__all__ = ["QueryResult", "ViewColumn", "collected", "describe_views", "query_runs", "stream_query"]

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """Rows of a statement; `truncated` says that there are more than `limit`."""

    columns: tuple[tuple[str, str], ...]
    arrow: pa.Table
    truncated: bool
    warnings: tuple[str, ...]

    def rows(self) -> Iterator[tuple[SqlValue, ...]]:
        """Rows of Python values."""
        return python_rows(self.arrow)


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
    """Run one SELECT of a user and return its rows; it can only read the views.

    Args:
        store: Where the runs lie.
        statement: One SELECT, WITH, FROM, VALUES, SHOW, DESCRIBE or SUMMARIZE.
        runs: What the views show; every run of the store when None.
        limit: Most rows to return.
        memory_bytes: Most memory for DuckDB, and for the rows; None means 2 GiB or a quarter of
            the machine's.
        timeout_s: Longest time.
        parameters: Values of `$name` in the statement.

    Raises:
        UsageError: the statement is wrong, is not one SELECT, reaches for what is outside, or
            needs more time or memory.
        StoreUnreadable: the shards changed faster than they could be listed again.
    """
    limits = QueryLimits(timeout_s=timeout_s, memory_bytes=memory_bytes, most_rows=limit)
    return stream_query(
        store, statement, collected, limits=limits, runs=runs, parameters=parameters
    )


def stream_query(
    store: Store,
    statement: str,
    write: Callable[[RowStream], Answer],
    *,
    limits: QueryLimits,
    runs: Sequence[Run] | None = None,
    parameters: Mapping[str, SqlValue] | None = None,
    can_repeat: bool = True,
) -> Answer:
    """What a function makes of the rows, batch by batch: the limits hold for what it does as well.

    Args:
        store: Where the runs lie.
        statement: As for `query_runs`.
        write: Takes the rows; called again, with all of them, when a shard breaks meanwhile.
        limits: Of time, memory and rows.
        runs: What the views show; every run of the store when None.
        parameters: Values of `$name` in the statement.
        can_repeat: False when rows that were taken cannot be taken back, as those in a pipe.

    Raises:
        UsageError: as for `query_runs`.
        StoreUnreadable: as for `query_runs`, or a shard broke after rows were taken for good.
    """
    listing = Listing(store.runs() if runs is None else runs)
    for _ in range(READ_TRIES):
        limits.start_again()
        try:
            with (
                locked_connection(limits.memory_bytes) as connection,
                limits.interrupting(connection),
            ):
                query = _Query(connection, listing, limits)
                return write(query.open(statement, parameters or {}))
        except ReadFailed as failed:
            failure = failed.error
        if isinstance(failure, MISTAKES) or is_out_of_memory(failure):
            raise _explained(failure, limits) from failure
        if limits.n_rows and not can_repeat:
            raise StoreUnreadable(
                f"a shard could not be read after {limits.n_rows} rows were written "
                f"({first_line(failure)}); --output FILE skips such shards."
            ) from failure
        if not listing.exclude_unreadable():
            raise _explained(failure, limits) from failure
    raise StoreUnreadable(
        f"the shards changed {READ_TRIES} times while they were read ({failure}); try again."
    ) from failure


def collected(stream: RowStream) -> QueryResult:
    """All rows in memory, which count against its limit."""
    arrow = plain_numbers(stream.collected())
    return QueryResult(
        columns=stream.columns, arrow=arrow, truncated=stream.truncated, warnings=stream.warnings
    )


class _Query:
    """One statement on one locked connection."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, listing: Listing, limits: QueryLimits
    ) -> None:
        self._connection = connection
        self._listing = listing
        self._limits = limits
        self._binder = Binder(
            connection,
            listing,
            Datasets(),
            open_session=Session,
            all_attempts=False,
            computed_once_rows=0,
        )

    def open(self, statement: str, parameters: Mapping[str, SqlValue]) -> RowStream:
        parsed = one_select(self._connection, statement)
        names = referenced_names(self._connection, statement)
        with self._limits.reading():
            # SHOW TABLES names nothing and means everything.
            self._binder.bind(sorted(names or known_names()))
            relation = self._connection.sql(parsed, params=dict(parameters) or None)
            columns = tuple(zip(relation.columns, map(str, relation.types), strict=True))
            reader = relation.to_arrow_reader(BATCH_ROWS)
        return RowStream(
            columns=columns,
            reader=reader,
            limits=self._limits,
            warnings=self._listing.warnings,
        )


def _explained(error: Exception, limits: QueryLimits) -> TelemetryError:
    message = first_line(error)
    if is_out_of_memory(error):
        return limits.too_much()
    if isinstance(error, duckdb.PermissionException):
        return UsageError(f"a query can only read the views of this store. {message}")
    if isinstance(error, duckdb.CatalogException):
        return UsageError(f"{message} Views: {', '.join(sql.public_views())}.")
    if isinstance(error, duckdb.Error):
        return UsageError(mistake(error))
    return StoreUnreadable(f"the store could not be read: {message}")
