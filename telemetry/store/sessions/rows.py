"""Rows of a query: typed columns for arithmetic, records for display."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Codes: TypeAlias = "tuple[npt.NDArray[np.int64], tuple[str, ...]]"
SqlValue: TypeAlias = "bool | int | float | str | bytes | datetime | None"


@dataclass(frozen=True, slots=True)
class Rows:
    """Result of one query, in the order of its ORDER BY."""

    arrow: pa.Table
    _encoded: dict[str, Codes] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return int(self.arrow.num_rows)

    @property
    def names(self) -> tuple[str, ...]:
        """Column names."""
        return tuple(self.arrow.column_names)

    def floats(self, name: str) -> npt.NDArray[np.float64]:
        """A numeric column, shape (n_rows,); NULL becomes NaN."""
        column = self.arrow.column(name)
        if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            column = column.cast(pa.float64())  # loads pyarrow.compute, as above
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)

    def ints(self, name: str) -> npt.NDArray[np.int64]:
        """An integer column without NULL, shape (n_rows,)."""
        column = self.arrow.column(name)
        if column.type != pa.int64():
            column = column.cast(pa.int64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int64)

    def known(self, name: str) -> npt.NDArray[np.bool_]:
        """Where a column is not NULL, shape (n_rows,)."""
        parts = [_known(chunk) for chunk in self.arrow.column(name).chunks]
        return np.concatenate(parts) if parts else np.zeros(0, dtype=np.bool_)

    def texts(self, name: str) -> list[str]:
        """A text column; NULL becomes ''."""
        return [value or "" for value in self.arrow.column(name).to_pylist()]

    def codes(self, name: str) -> Codes:
        """A text column as positions into its distinct values, in order of appearance."""
        if name not in self._encoded:
            self._encoded[name] = _encoded(self.arrow.column(name))
        return self._encoded[name]

    def part(self, name: str, value: str) -> "Rows":
        """The rows in which a text column has a value, in their order."""
        codes, values = self.codes(name)
        place = values.index(value) if value in values else -1
        return Rows(self.arrow.filter(codes == place))

    def blobs(self, name: str) -> list[bytes | None]:
        """A binary column."""
        return list(self.arrow.column(name).to_pylist())

    def records(self) -> list[dict[str, SqlValue]]:
        """One dictionary a row; NULL is None and NaN stays NaN."""
        return list(self.arrow.to_pylist())


class Queries(Protocol):
    """Answers statements over the views of some runs, as a session does."""

    def query(self, sql: str, parameters: Mapping[str, SqlValue] | None = None) -> Rows:
        """Rows of one SELECT."""
        ...


def _known(chunk: pa.Array) -> npt.NDArray[np.bool_]:
    """By the bits that Arrow keeps: `is_valid` loads pyarrow.compute, which takes 40 ms."""
    bits = chunk.buffers()[0]
    if bits is None:
        return np.ones(len(chunk), dtype=np.bool_)
    known = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little")
    return known[chunk.offset : chunk.offset + len(chunk)].astype(np.bool_)


def _encoded(column: pa.ChunkedArray) -> Codes:
    encoded = column.cast(pa.string()).fill_null("").combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    positions = np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)
    return positions, tuple(encoded.dictionary.to_pylist())


def as_float(value: SqlValue) -> float:
    """A number of a record; NULL is NaN."""
    return math.nan if value is None or isinstance(value, str | bytes | datetime) else float(value)


def as_text(value: SqlValue) -> str:
    """A text of a record; NULL is ''."""
    return "" if value is None else str(value)
