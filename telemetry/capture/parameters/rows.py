"""One sample of parameters on its way to the writer, and the rows of `tensor_stats` it becomes.

The training thread makes the packet; the writer thread asks it for its rows: NULLs, provenance,
Arrow types.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pyarrow as pa
from torch import Tensor

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.gradient_scales import GradientScales
from telemetry.capture.parameters.statistic import ColumnValues, HostPartials, ParameterStatistic
from telemetry.capture.tensors.host import PackedTensors
from telemetry.capture.tensors.sample_plan import BoolArray, FloatArray, IntArray, RowLayout
from telemetry.format.tables import table

Column: TypeAlias = (
    "FloatArray | IntArray | list[bytes | None] | list[str] | list[str | bytes | None]"
)

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
class RowGroup:
    """Rows of one kind of one block, and what is computed for them.

    Attributes:
        kind: What the rows describe.
        names: Their ids.
        n_sampled: Elements that were read, shape (n_rows,).
        is_known: Rows that have statistics of the sample; the others are NULL.
        is_normed: Rows that have those of the whole tensor.
        has_gradient: Rows whose parameter had a gradient.
        is_written: Rows that exist; the others are left out.
        scales: State of the gradients; None for other kinds.
        statistics: Those that have something to say.
        layout: Where the parameters' samples lay; None without statistics.
    """

    kind: Kind
    names: RowNames
    n_sampled: IntArray
    is_known: BoolArray
    is_normed: BoolArray
    has_gradient: BoolArray
    is_written: BoolArray
    scales: GradientScales | None = None
    statistics: Sequence[ParameterStatistic] = ()
    layout: RowLayout | None = None


# With the partial results of their statistics, by name, on the device.
SampledRows: TypeAlias = tuple[RowGroup, Mapping[str, Tensor]]


class ParameterPacket:
    """One sample of one optimizer's parameters; a `JointPacket`.

    Args:
        step: Optimizer step.
        groups: At least one.
        grad_sumsq_total: See attribute.
        grad_norm_unscaled: See attribute.
        sharded_grad_sumsq: See attribute.
        weight_checksum: See attribute.

    Attributes:
        step: Optimizer step.
        grad_sumsq_total: Squared L2 norm of all gradients as the optimizer saw them, 0-d on the
            device; NaN when an element is not finite.
        grad_norm_unscaled: Their L2 norm without clipping and loss scale, 0-d on the device; None
            where that cannot be told.
        sharded_grad_sumsq: What parameters of which this rank has a part add to the square of
            `grad_norm_unscaled`, 0-d on the device; None where there are none.
        weight_checksum: Positional hash of the bits of up to 16 parameters before the step, 0-d
            int64 on the device.
        n_bytes: Memory held until the packet is written.
        companions: Those of all optimizers may be joined.
        last_step: The only one.
    """

    companions: object = "parameters"

    def __init__(
        self,
        *,
        step: int,
        groups: Sequence[SampledRows],
        grad_sumsq_total: Tensor,
        grad_norm_unscaled: Tensor | None,
        sharded_grad_sumsq: Tensor | None,
        weight_checksum: Tensor,
    ) -> None:
        self.step = step
        self.grad_sumsq_total = grad_sumsq_total
        self.grad_norm_unscaled = grad_norm_unscaled
        self.sharded_grad_sumsq = sharded_grad_sumsq
        self.weight_checksum = weight_checksum
        self._groups: list[tuple[RowGroup, dict[str, tuple[int, ...]]]] = []
        partials: list[Tensor] = []
        for group, results in groups:
            shapes = {name: tuple(partial.shape) for name, partial in results.items()}
            self._groups.append((group, shapes))
            partials.extend(results.values())
        # Few tensors to copy to the host, whatever was recorded.
        self._packed = PackedTensors(partials)
        self.n_bytes = self._packed.n_bytes
        self.last_step = step

    def rows(self) -> Iterator[tuple[str, pa.Table]]:
        """One table of `tensor_stats` rows; waits for the device."""
        return self.rows_of([self])

    @staticmethod
    def rows_of(packets: "Sequence[ParameterPacket]") -> Iterator[tuple[str, pa.Table]]:
        """The rows of several samples, those of the same parameters made together.

        Of 30 small samples that takes a fourth of the time that they take one by one.
        """
        alike: dict[object, list[_HostGroup]] = {}
        for packet in packets:
            for group in packet.on_host():
                alike.setdefault(group.key, []).append(group)
        yield "tensor_stats", _arrow_table([_columns(groups) for groups in alike.values()])

    def on_host(self) -> "Iterator[_HostGroup]":
        """The groups with their results as arrays; waits for the device."""
        arrays = iter(self._packed.arrays())
        for group, shapes in self._groups:
            partials = {name: next(arrays).reshape(shape) for name, shape in shapes.items()}
            yield _HostGroup(step=self.step, rows=group, partials=partials)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _HostGroup:
    """Rows of one step, and their partial results on the host."""

    step: int
    rows: RowGroup
    partials: HostPartials

    @property
    def key(self) -> object:
        """Equal for groups whose partial results may be joined end to end."""
        rows = self.rows
        if rows.layout is None or any(partial.ndim != 1 for partial in self.partials.values()):
            return id(self)
        names = tuple(statistic.id for statistic in rows.statistics)
        return (
            rows.kind,
            id(rows.names),
            id(rows.layout),
            rows.scales is None,
            names,
            *self.partials,
        )


def _columns(groups: Sequence[_HostGroup]) -> dict[str, Column]:
    """Columns of those rows of groups of one key that exist, NaN or None for NULL."""
    rows = [group.rows for group in groups]
    names, times = rows[0].names, len(groups)
    n_rows = len(names.tensor_id) * times
    statistics = _statistic_columns(groups)
    columns: dict[str, Column] = {
        **statistics,
        "step": np.repeat([group.step for group in groups], len(names.tensor_id)),
        "tensor_id": np.tile(names.tensor_id, times),
        "param_id": np.tile(names.param_id, times),
        "kind": [str(rows[0].kind)] * n_rows,
        "provenance": [""] * n_rows,
        "n": np.tile(names.n, times),
        "n_sampled": np.concatenate([each.n_sampled for each in rows]),
    }
    if "sumsq" in statistics:
        columns["sumsq"] = truncated(_of_something(statistics, np.tile(names.n, times)))
    scaled = [(each, each.scales) for each in rows if each.scales is not None]
    if scaled:
        columns["provenance"] = [str(state) for _, scales in scaled for state in scales.provenance]
        columns["scale"] = np.concatenate(
            [np.where(each.has_gradient, scales.values(), np.nan) for each, scales in scaled]
        )
    is_written = np.concatenate([each.is_written for each in rows])
    if is_written.all():
        return columns
    return {name: _kept(column, is_written) for name, column in columns.items()}


def _statistic_columns(groups: Sequence[_HostGroup]) -> dict[str, ColumnValues]:
    columns: dict[str, ColumnValues] = {}
    rows = [group.rows for group in groups]
    first = rows[0]
    if first.layout is None:
        return columns
    layout = first.layout.repeated(len(groups))
    partials = groups[0].partials
    if len(groups) > 1:
        partials = {
            name: np.concatenate([group.partials[name] for group in groups]) for name in partials
        }
    has_gradient = np.concatenate([each.has_gradient for each in rows])
    is_sharded = np.concatenate([each.names.is_sharded for each in rows])
    is_normed = np.concatenate([each.is_normed for each in rows])
    is_sampled = np.concatenate([each.is_known for each in rows])
    for statistic in first.statistics:
        is_known = is_normed if statistic.is_of_whole else is_sampled
        if statistic.needs_gradient:
            is_known = is_known & has_gradient
        values = statistic.finish(partials, layout)
        for name, column in zip(statistic.columns, values, strict=True):
            is_told = is_known & is_sharded if name in statistic.part_columns else is_known
            columns[name] = column if is_told.all() else _null_where_unknown(column, is_told)
    return columns


def truncated(values: FloatArray) -> FloatArray:
    """The values with 24 bits of mantissa, rounded to nearest."""
    bits = np.where(np.isfinite(values), values, 0.0).view(np.uint64)
    kept = ((bits + _HALF) >> _DROPPED_BITS) << _DROPPED_BITS
    return np.where(np.isfinite(values), kept.view(np.float64), values)


def _null_where_unknown(column: ColumnValues, known: BoolArray) -> ColumnValues:
    """The column with NULL in the rows that are not known."""
    if isinstance(column, list):
        return [value if is_known else None for value, is_known in zip(column, known, strict=True)]
    return np.where(known, column, np.nan)


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


def _arrow_table(groups: Sequence[Mapping[str, Column]]) -> pa.Table:
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
