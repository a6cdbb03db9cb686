"""One sample of parameters on its way to the writer: table `tensor_stats`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import pyarrow as pa
import torch
from torch import Tensor

from telemetry.capture.parameter_rows import (
    GroupResults,
    RowGroup,
    arrow_table,
    group_columns,
    null_where_unknown,
)
from telemetry.capture.statistic import ColumnValues, ParameterStatistic, ResultArray

Pool: TypeAlias = tuple[torch.device, torch.dtype]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Slot:
    """Where a statistic's result lies in the pool of its device and dtype."""

    statistic: ParameterStatistic
    pool: Pool
    start: int
    shape: tuple[int, ...]


class ParameterPacket:
    """One sample of one optimizer's parameters.

    Args:
        step: Optimizer step.
        groups: Rows, and for each group the statistics with their results on the device.
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
        parts: dict[Pool, list[Tensor]] = {}
        filled: dict[Pool, int] = {}
        self._groups: list[tuple[RowGroup, list[_Slot]]] = []
        for group, results in groups:
            slots: list[_Slot] = []
            for statistic, result in results:
                pool = (result.device, result.dtype)
                start = filled.get(pool, 0)
                parts.setdefault(pool, []).append(result.reshape(-1))
                filled[pool] = start + result.numel()
                slots.append(
                    _Slot(statistic=statistic, pool=pool, start=start, shape=tuple(result.shape))
                )
            self._groups.append((group, slots))
        # Few tensors to copy to the host, whatever was recorded.
        self._pools = {pool: torch.cat(tensors) for pool, tensors in parts.items()}

    @property
    def n_bytes(self) -> int:
        """Memory held until the packet is written."""
        return sum(pool.numel() * pool.element_size() for pool in self._pools.values())

    def rows(self) -> Iterable[tuple[str, pa.Table]]:
        """One table of `tensor_stats` rows; waits for the device."""
        if self._groups:
            host = {pool: values.cpu().numpy() for pool, values in self._pools.items()}
            rows = [
                group_columns(self.step, group, _statistic_columns(group, slots, host))
                for group, slots in self._groups
            ]
            yield "tensor_stats", arrow_table(rows)


def _statistic_columns(
    group: RowGroup,
    slots: Sequence[_Slot],
    host: Mapping[Pool, ResultArray],
) -> dict[str, ColumnValues]:
    columns: dict[str, ColumnValues] = {}
    for slot in slots:
        stop = slot.start + math.prod(slot.shape)
        result = host[slot.pool][slot.start : stop].reshape(slot.shape)
        known = group.is_known
        if slot.statistic.needs_gradient:
            known = known & group.has_gradient
        values = slot.statistic.column_values(result)
        for name, column in zip(slot.statistic.columns, values, strict=True):
            columns[name] = null_where_unknown(column, known)
    return columns
