"""Rows of `tensor_stats` from what was computed: NULLs, provenance, Arrow types."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from torch import Tensor

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.statistic import ColumnValues, ParameterStatistic
from telemetry.capture.steps.provenance import Provenance
from telemetry.capture.tensors.sample_plan import FloatArray, IntArray, RowLayout
from telemetry.format.tables import table

BoolArray: TypeAlias = npt.NDArray[np.bool_]

# 24 bits of sumsq are kept, the leading one is not stored: relative error 6e-8, the price of REAL.
_DROPPED_BITS = np.uint64(52 - 23)
_HALF = np.uint64(1) << (_DROPPED_BITS - np.uint64(1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowNames:
    """What identifies the rows of one kind of one block, shape (n_rows,) each.

    Attributes:
        tensor_id: Id of the row's tensor.
        param_id: Id of the parameter's weight.
        n: Elements of the tensor on this rank.
        is_sharded: Whether other ranks hold the rest of it.
    """

    tensor_id: IntArray
    param_id: IntArray
    n: IntArray
    is_sharded: BoolArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GradientScales:
    """State of the gradients of one block.

    Attributes:
        provenance: One of `Provenance` per parameter.
        factors: 0-d tensors: clip coefficients and the loss scale.
        applies: Which factor is in which gradient, shape (n_factors, n_parameters).
        unknown: Gradients whose scale cannot be told (value clipping), shape (n_parameters,).
    """

    provenance: Sequence[Provenance]
    factors: Sequence[Tensor]
    applies: BoolArray
    unknown: BoolArray

    def values(self) -> FloatArray:
        """Seen = scale x unscaled; NaN where it cannot be told. May wait for the device."""
        result = np.where(self.unknown, np.nan, 1.0)
        for factor, applies in zip(self.factors, self.applies, strict=True):
            result = np.where(applies, result * float(factor), result)
        return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RowGroup:
    """Rows of one kind of one block.

    Attributes:
        kind: What the rows describe.
        names: Their ids.
        n_sampled: Elements that were read, shape (n_rows,).
        is_known: Rows that have statistics of the sample; the others are NULL.
        is_normed: Rows that have those of the whole tensor.
        has_gradient: Rows whose parameter had a gradient.
        is_written: Rows that exist; the others are left out.
        scales: State of the gradients; None for other kinds.
    """

    kind: Kind
    names: RowNames
    n_sampled: IntArray
    is_known: BoolArray
    is_normed: BoolArray
    has_gradient: BoolArray
    is_written: BoolArray
    scales: GradientScales | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GroupResults:
    """Rows and what was computed for them, on the device.

    Attributes:
        rows: One per parameter.
        statistics: Those that have something to say.
        partials: Their partial results by name.
        layout: Where the parameters' samples lay; None without statistics.
    """

    rows: RowGroup
    statistics: Sequence[ParameterStatistic]
    partials: Mapping[str, Tensor]
    layout: RowLayout | None


def truncated(values: FloatArray) -> FloatArray:
    """The values with 24 bits of mantissa, rounded to nearest."""
    bits = np.where(np.isfinite(values), values, 0.0).view(np.uint64)
    kept = ((bits + _HALF) >> _DROPPED_BITS) << _DROPPED_BITS
    return np.where(np.isfinite(values), kept.view(np.float64), values)


def null_where_unknown(column: ColumnValues, known: BoolArray) -> ColumnValues:
    """The column with NULL in the rows that are not known."""
    if isinstance(column, list):
        return [value if is_known else None for value, is_known in zip(column, known, strict=True)]
    return np.where(known, column, np.nan)


Column: TypeAlias = (
    "FloatArray | IntArray | list[bytes | None] | list[str] | list[str | bytes | None]"
)


def group_columns(
    steps: Sequence[int], groups: Sequence[RowGroup], statistics: Mapping[str, ColumnValues]
) -> dict[str, Column]:
    """Columns of those rows of some groups that exist, NaN or None for NULL.

    Args:
        steps: Optimizer step of each group.
        groups: Rows of one kind, of the same parameters.
        statistics: What was computed, shape (n_groups * n_rows,) each.
    """
    names, times = groups[0].names, len(groups)
    n_rows = len(names.tensor_id) * times
    columns: dict[str, Column] = {
        **statistics,
        "step": np.repeat(np.array(steps, dtype=np.int64), len(names.tensor_id)),
        "tensor_id": np.tile(names.tensor_id, times),
        "param_id": np.tile(names.param_id, times),
        "kind": [str(groups[0].kind)] * n_rows,
        "provenance": [""] * n_rows,
        "n": np.tile(names.n, times),
        "n_sampled": np.concatenate([group.n_sampled for group in groups]),
    }
    if "sumsq" in statistics:
        columns["sumsq"] = truncated(_of_something(statistics, np.tile(names.n, times)))
    scaled = [(group, group.scales) for group in groups if group.scales is not None]
    if scaled:
        columns["provenance"] = [str(state) for _, scales in scaled for state in scales.provenance]
        columns["scale"] = np.concatenate(
            [np.where(group.has_gradient, scales.values(), np.nan) for group, scales in scaled]
        )
    is_written = np.concatenate([group.is_written for group in groups])
    if is_written.all():
        return columns
    return {name: _kept(column, is_written) for name, column in columns.items()}


def _of_something(statistics: Mapping[str, ColumnValues], n: IntArray) -> FloatArray:
    """Sums of squares; NaN, for NULL, of tensors that have not a single finite element."""
    sumsq, n_nan, n_inf = (
        np.asarray(statistics[name], dtype=np.float64) for name in ("sumsq", "n_nan", "n_inf")
    )
    return np.where((n > 0) & (n_nan + n_inf >= n), np.nan, sumsq)


def _kept(column: Column, kept: BoolArray) -> Column:
    if isinstance(column, np.ndarray):
        return column[kept]
    return [value for value, is_kept in zip(column, kept, strict=True) if is_kept]


def arrow_table(groups: Sequence[Mapping[str, Column]]) -> pa.Table:
    """The rows of several groups as one table of `tensor_stats`."""
    n_rows = [len(group["step"]) for group in groups]
    arrays: dict[str, pa.Array] = {}
    for column in table("tensor_stats").columns:
        if column.name == "attempt":
            continue
        if not any(column.name in group for group in groups):
            arrays[column.name] = pa.nulls(sum(n_rows), column.arrow_type)
        elif column.type in {"VARCHAR", "BLOB"}:
            lists = [
                group.get(column.name, [None] * n) for group, n in zip(groups, n_rows, strict=True)
            ]
            arrays[column.name] = pa.array(itertools.chain(*lists), column.arrow_type)
        else:
            parts = [
                group.get(column.name, np.full(n, np.nan))
                for group, n in zip(groups, n_rows, strict=True)
            ]
            arrays[column.name] = _numbers(np.concatenate(parts), column.type)
    return pa.table(arrays)


def _numbers(values: FloatArray | IntArray, kind: str) -> pa.Array:
    """An Arrow column of that SQL type; NaN is NULL."""
    target = _NUMPY_TYPES[kind]
    if values.dtype == target:
        return pa.array(values, mask=np.isnan(values) if target == np.float64 else None)
    missing = np.isnan(values)
    if target == np.float32:
        with np.errstate(over="ignore"):
            return pa.array(values.astype(np.float32), mask=missing)
    whole = np.where(missing, 0, values)
    return pa.array(whole != 0 if kind == "BOOLEAN" else whole.astype(target), mask=missing)


_NUMPY_TYPES = {
    "BOOLEAN": np.dtype(np.bool_),
    "INTEGER": np.dtype(np.int32),
    "BIGINT": np.dtype(np.int64),
    "REAL": np.dtype(np.float32),
    "DOUBLE": np.dtype(np.float64),
}
