"""Rows of a query as a Parquet file, written while they are read."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from telemetry.errors import UsageError
from telemetry.format.shards import ROW_GROUP_ROWS
from telemetry.store.sessions.arrow_results import plain_numbers
from telemetry.store.user_sql.row_stream import RowStream

GROUP_BYTES = 16 * 2**20  # wide rows fill a row group sooner: it is held until it is written


def write_parquet(stream: RowStream, path: Path) -> None:
    """Write all rows; the first row group decides whether a column of huge integers is INT64.

    Raises:
        OSError: the file cannot be written.
        UsageError: time or memory are used up, or a later integer is too large for its column.
    """
    groups = _groups(stream)
    first = plain_numbers(next(groups, stream.schema.empty_table()))
    with path.open("wb") as file, pq.ParquetWriter(file, first.schema) as writer:
        writer.write_table(first)
        for group in groups:
            writer.write_table(_like(first.schema, plain_numbers(group)))


def _groups(stream: RowStream) -> Iterator[pa.Table]:
    held: list[pa.RecordBatch] = []
    for batch in stream:
        held.append(batch)
        if sum(one.num_rows for one in held) >= ROW_GROUP_ROWS or (
            sum(one.nbytes for one in held) >= GROUP_BYTES
        ):
            yield pa.Table.from_batches(held)
            held = []
    if held:
        yield pa.Table.from_batches(held)


def _like(schema: pa.Schema, group: pa.Table) -> pa.Table:
    try:
        return group.cast(schema)
    except pa.ArrowInvalid as error:
        raise UsageError(
            "an integer has more than 64 bits, but earlier rows were written as INT64 "
            f"({error}); cast the column to DOUBLE or VARCHAR in the statement."
        ) from error
