"""Rows that wait for the next shard, per table; what is given up first when memory runs out.

Owned by the writer thread.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from telemetry.capture.packet import HOST_ROW_BYTES, host_table
from telemetry.errors import SchemaMismatch
from telemetry.shards import arrange
from telemetry.tables import table

HISTOGRAM_COLUMNS = ("hist", "hist_exp")
# Given up first to last; the oldest rows of a table go first. What is not named here comes between.
FIRST_DROPPED = ("module_stats", "tensor_stats")
LAST_DROPPED = ("tensors", "modules", "events", "metrics", "steps")
ANY_STEP = -1


@dataclass(slots=True, kw_only=True)
class Chunk:
    """Rows of one packet; `last_step` is the largest of their steps."""

    rows: pa.Table
    last_step: int
    n_bytes: int


class RowBuffer:
    """Buffers rows of all tables until a shard takes them.

    Args:
        attempt: Written into every row.
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
            column = pa.repeat(pa.scalar(self._attempt, pa.int32()), rows.num_rows)
            chunk = _chunk(rows.append_column("attempt", column))
            self._chunks.setdefault(name, []).append(chunk)

    def add_records(self, name: str, records: Sequence[Mapping[str, object]]) -> None:
        """Keep rows given as dictionaries; they become a table when a shard takes them."""
        self._records.setdefault(name, []).extend(records)

    def give_back(self, name: str, rows: pa.Table) -> None:
        """Keep rows that were taken and could not be written; they are the oldest again."""
        self._chunks.setdefault(name, []).insert(0, _chunk(rows))

    def take(self, name: str, *, up_to: int | None) -> tuple[pa.Table | None, int]:
        """Remove and return the rows of a table.

        Args:
            name: The table.
            up_to: Take only rows whose packet holds no later step; None: all.

        Returns:
            The rows with all columns of their table, None when there are none; and how many rows
            did not fit the table and are lost.
        """
        n_lost = self._settle_records(name)
        chunks = self._chunks.pop(name, [])
        ready = [c for c in chunks if up_to is None or c.last_step <= up_to]
        waiting = [c for c in chunks if up_to is not None and c.last_step > up_to]
        if waiting:
            self._chunks[name] = waiting
        if not ready:
            return None, n_lost
        rows, n_misfits = self._joined(name, [chunk.rows for chunk in ready])
        return rows, n_lost + n_misfits

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

    def _joined(self, name: str, tables: Sequence[pa.Table]) -> tuple[pa.Table | None, int]:
        """The tables as one, arranged by their schema; those that do not fit it are left out."""
        schema = table(name)
        try:
            return arrange(schema, pa.concat_tables(tables, promote_options="default")), 0
        except (pa.ArrowException, SchemaMismatch):
            pass
        fitting, n_lost = [], 0
        for rows in tables:
            try:
                fitting.append(arrange(schema, rows))
            except (pa.ArrowException, SchemaMismatch) as error:
                self._on_misfit(name, error)
                n_lost += rows.num_rows
        return (pa.concat_tables(fitting) if fitting else None), n_lost


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
