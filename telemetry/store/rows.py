"""Rows of a query: typed columns for arithmetic, records for display."""

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeAlias

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
        column = self.arrow.column(name).cast(pa.float64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)

    def ints(self, name: str) -> npt.NDArray[np.int64]:
        """An integer column without NULL, shape (n_rows,)."""
        column = self.arrow.column(name).cast(pa.int64())
        return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.int64)

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
