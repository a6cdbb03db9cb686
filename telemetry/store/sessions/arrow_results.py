"""Arrow results of DuckDB in the types that the rest of the product knows."""

from collections.abc import Iterator

import pyarrow as pa

from telemetry.store.sessions.rows import SqlValue


def plain_numbers(result: pa.Table) -> pa.Table:
    """The table with whole decimals (a SUM of BIGINT) as int64, all other decimals as float64."""
    for index, field in enumerate(result.schema):
        if pa.types.is_decimal(field.type):
            column = _plain(result.column(index), field.type)
            result = result.set_column(index, field.name, column)
    return result


def python_rows(result: pa.Table) -> Iterator[tuple[SqlValue, ...]]:
    """Rows of Python values; one batch at a time is turned into them."""
    for batch in plain_numbers(result).to_batches():
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)


def _plain(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    if kind.scale == 0:
        try:
            return column.cast(pa.int64())
        except pa.ArrowInvalid:
            pass  # beyond 64 bits
    return column.cast(pa.float64())
