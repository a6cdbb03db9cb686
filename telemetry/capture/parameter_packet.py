"""One sample of parameters on its way to the writer: table `tensor_stats`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

import pyarrow as pa
from torch import Tensor

from telemetry.capture.host import PackedTensors
from telemetry.capture.parameter_rows import (
    GroupResults,
    arrow_table,
    group_columns,
    null_where_unknown,
)
from telemetry.capture.statistic import ColumnValues, HostPartials


class ParameterPacket:
    """One sample of one optimizer's parameters.

    Args:
        step: Optimizer step.
        groups: At least one.
        grad_sumsq_total: See attribute.
        grad_norm_unscaled: See attribute.
        weight_checksum: See attribute.

    Attributes:
        step: Optimizer step.
        grad_sumsq_total: Squared L2 norm of all gradients as the optimizer saw them, 0-d on the
            device; NaN when an element is not finite.
        grad_norm_unscaled: Their L2 norm without clipping and loss scale, 0-d on the device; None
            where that cannot be told.
        weight_checksum: Positional hash of the bits of up to 16 parameters before the step, 0-d
            int64 on the device.
    """

    def __init__(
        self,
        *,
        step: int,
        groups: Sequence[GroupResults],
        grad_sumsq_total: Tensor,
        grad_norm_unscaled: Tensor | None,
        weight_checksum: Tensor,
    ) -> None:
        self.step = step
        self.grad_sumsq_total = grad_sumsq_total
        self.grad_norm_unscaled = grad_norm_unscaled
        self.weight_checksum = weight_checksum
        self._groups: list[tuple[GroupResults, dict[str, tuple[int, ...]]]] = []
        partials: list[Tensor] = []
        for group in groups:
            shapes = {name: tuple(partial.shape) for name, partial in group.partials.items()}
            self._groups.append((replace(group, partials={}), shapes))
            partials.extend(group.partials.values())
        # Few tensors to copy to the host, whatever was recorded.
        self._packed = PackedTensors(partials)

    @property
    def n_bytes(self) -> int:
        """Memory held until the packet is written."""
        return self._packed.n_bytes

    def rows(self) -> Iterable[tuple[str, pa.Table]]:
        """One table of `tensor_stats` rows; waits for the device."""
        arrays = iter(self._packed.arrays())
        rows = []
        for group, shapes in self._groups:
            partials = {name: next(arrays).reshape(shape) for name, shape in shapes.items()}
            rows.append(group_columns(self.step, group.rows, _statistic_columns(group, partials)))
        yield "tensor_stats", arrow_table(rows)


def _statistic_columns(group: GroupResults, partials: HostPartials) -> dict[str, ColumnValues]:
    columns: dict[str, ColumnValues] = {}
    if group.layout is None:
        return columns
    for statistic in group.statistics:
        is_known = group.rows.is_normed if statistic.is_of_whole else group.rows.is_known
        if statistic.needs_gradient:
            is_known = is_known & group.rows.has_gradient
        values = statistic.finish(partials, group.layout)
        for name, column in zip(statistic.columns, values, strict=True):
            columns[name] = null_where_unknown(column, is_known)
    return columns
