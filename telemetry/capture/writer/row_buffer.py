"""Rows that wait for the next shard, per table; what is given up first when memory runs out.

Owned by the writer thread.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from telemetry.capture.packet import HOST_ROW_BYTES, host_table
from telemetry.errors import SchemaMismatch
from telemetry.format.shards import arrange
from telemetry.format.tables import table

HISTOGRAM_COLUMNS = ("hist", "hist_exp")
# Given up first to last; the oldest rows of a table go first. What is not named here comes between.
FIRST_DROPPED = ("module_stats", "tensor_stats")
LAST_DROPPED = ("tensors", "modules", "events", "metrics", "steps")
ANY_STEP = -1
ATTEMPT = "attempt"  # a column of most tables


@dataclass(slots=True, kw_only=True)
class Chunk:
    """Rows of one packet; `last_step` is the largest of their steps."""

    rows: pa.Table
    last_step: int
    n_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """Rows of a table on their way to a shard, None when there are none.

    Attributes:
        rows: With all columns of their table.
        n_lost: Rows that did not fit the table.
        chunks: Where the rows come from, to be given back if the shard cannot be written.
    """

    rows: pa.Table | None
    n_lost: int
    chunks: tuple[Chunk, ...]


class RowBuffer:
    """Buffers rows of all tables until a shard takes them.

    Args:
        attempt: Written into every row of a table that has the column.
        on_misfit: Told the table and the error when rows do not fit the table and are lost.
    """

    def __init__(self, attempt: int, on_misfit: Callable[[str, Exception], None]) -> None:
        self._attempt = attempt
        self._on_misfit = on_misfit
        self._chunks: dict[str, list[Chunk]] = {}
        self._records: dict[str, list[Mapping[str, object]]] = {}

    @property
    def n_rows(self) -> int:
        """Rows that wait."""
        chunked = 0
        for chunks in self._chunks.values():
            chunked += sum(chunk.rows.num_rows for chunk in chunks)
        return chunked + sum(len(records) for records in self._records.values())

    @property
    def n_bytes(self) -> int:
        """Memory they hold."""
        chunked = sum(chunk.n_bytes for chunks in self._chunks.values() for chunk in chunks)
        return chunked + HOST_ROW_BYTES * sum(len(records) for records in self._records.values())

    def tables(self) -> list[str]:
        """Tables with rows, events last: they tell how the writing of the others went."""
        names = {*self._chunks, *self._records}
        return sorted(names, key=lambda name: (name == "events", name))

    def add(self, name: str, rows: pa.Table) -> None:
        """Keep rows of a table, without the column `attempt`."""
        if rows.num_rows:
            if ATTEMPT in {column.name for column in table(name).columns}:
                column = pa.repeat(pa.scalar(self._attempt, pa.int32()), rows.num_rows)
                rows = rows.append_column(ATTEMPT, column)
            self._chunks.setdefault(name, []).append(_chunk(rows))

    def add_records(self, name: str, records: Sequence[Mapping[str, object]]) -> None:
        """Keep rows given as dictionaries; they become a table when a shard takes them."""
        self._records.setdefault(name, []).extend(records)

    def give_back(self, name: str, taken: Taken) -> None:
        """Keep rows that were taken and could not be written; they are the oldest again."""
        self._chunks[name] = [*taken.chunks, *self._chunks.get(name, ())]

    def take(self, name: str, *, up_to: int | None) -> Taken:
        """Remove and return the rows of a table.

        Args:
            name: The table.
            up_to: Take only rows whose packet holds no later step; None: all.
        """
        n_lost = self._settle_records(name)
        chunks = self._chunks.pop(name, [])
        ready = [c for c in chunks if up_to is None or c.last_step <= up_to]
        waiting = [c for c in chunks if up_to is not None and c.last_step > up_to]
        if waiting:
            self._chunks[name] = waiting
        rows, fitting = self._joined(name, ready)
        n_ready = sum(chunk.rows.num_rows for chunk in ready)
        n_lost += n_ready - (0 if rows is None else rows.num_rows)
        return Taken(rows=rows, n_lost=n_lost, chunks=tuple(fitting))

    def trim(self, limit_bytes: int) -> dict[str, int]:
        """Give up rows until the rest fits: histograms first, then statistics, oldest first.

        Returns:
            Lost rows by table; a lost histogram counts as a row of `<table>.hist`.
        """
        lost: dict[str, int] = {}
        if self.n_bytes <= limit_bytes:
            return lost
        for name in self.tables():
            lost[name] = self._settle_records(name)
        excess = self.n_bytes - limit_bytes
        for name, chunk in self._without_histograms():
            if excess <= 0:
                break
            n_bytes = chunk.n_bytes
            chunk.rows = chunk.rows.drop_columns(_histograms_of(chunk.rows))
            chunk.n_bytes = chunk.rows.nbytes
            excess -= n_bytes - chunk.n_bytes
            lost[f"{name}.hist"] = lost.get(f"{name}.hist", 0) + chunk.rows.num_rows
        for name in sorted(self._chunks, key=_drop_order):
            chunks = self._chunks[name]
            while excess > 0 and chunks:
                chunk = chunks.pop(0)
                excess -= chunk.n_bytes
                lost[name] = lost.get(name, 0) + chunk.rows.num_rows
            if not chunks:
                del self._chunks[name]
        return {name: count for name, count in lost.items() if count}

    def _without_histograms(self) -> Iterator[tuple[str, Chunk]]:
        for name in sorted(self._chunks, key=_drop_order):
            for chunk in self._chunks[name]:
                if _histograms_of(chunk.rows):
                    yield name, chunk

    def _settle_records(self, name: str) -> int:
        """Make a chunk of the dictionaries of a table; returns how many did not fit."""
        records = self._records.pop(name, [])
        if not records:
            return 0
        try:
            self.add(name, host_table(name, records))
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            if len(records) == 1:
                self._on_misfit(name, error)
                return 1
        else:
            return 0
        # One by one, so that a wrong value costs its own row only.
        n_lost = 0
        for record in records:
            self._records[name] = [record]
            n_lost += self._settle_records(name)
        return n_lost

    def _joined(
        self, name: str, chunks: Sequence[Chunk]
    ) -> tuple[pa.Table | None, Sequence[Chunk]]:
        """The chunks as one table, arranged by its schema; those that do not fit are left out."""
        if not chunks:
            return None, ()
        schema = table(name)
        tables = [chunk.rows for chunk in chunks]
        try:
            return arrange(schema, pa.concat_tables(tables, promote_options="default")), chunks
        except (pa.ArrowException, SchemaMismatch):
            pass
        arranged, fitting = [], []
        for chunk in chunks:
            try:
                arranged.append(arrange(schema, chunk.rows))
            except (pa.ArrowException, SchemaMismatch) as error:
                self._on_misfit(name, error)
            else:
                fitting.append(chunk)
        return (pa.concat_tables(arranged) if arranged else None), fitting


def _chunk(rows: pa.Table) -> Chunk:
    last_step = pc.max(rows.column("step")).as_py() if "step" in rows.column_names else None
    return Chunk(
        rows=rows, last_step=ANY_STEP if last_step is None else last_step, n_bytes=rows.nbytes
    )


def _histograms_of(rows: pa.Table) -> list[str]:
    return [name for name in HISTOGRAM_COLUMNS if name in rows.column_names]


def _drop_order(name: str) -> tuple[int, int]:
    if name in FIRST_DROPPED:
        return 0, FIRST_DROPPED.index(name)
    if name in LAST_DROPPED:
        return 2, LAST_DROPPED.index(name)
    return 1, 0
