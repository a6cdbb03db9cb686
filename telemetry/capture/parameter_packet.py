"""One sample of parameters on its way to the writer: table `tensor_stats`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import pyarrow as pa
import torch
from torch import Tensor

from telemetry.capture.parameter_rows import (
    GroupResults,
    arrow_table,
    group_columns,
    null_where_unknown,
)
from telemetry.capture.sample_plan import AnyFloatArray
from telemetry.capture.statistic import ColumnValues

Pool: TypeAlias = tuple[torch.device, torch.dtype]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Place:
    """Where a partial result lies in the pool of its device and dtype."""

    pool: Pool
    start: int
    shape: tuple[int, ...]


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
        parts: dict[Pool, list[Tensor]] = {}
        filled: dict[Pool, int] = {}
        self._groups: list[tuple[GroupResults, dict[str, _Place]]] = []
        for group in groups:
            places: dict[str, _Place] = {}
            for name, partial in group.partials.items():
                pool = (partial.device, partial.dtype)
                start = filled.get(pool, 0)
                parts.setdefault(pool, []).append(partial.reshape(-1))
                filled[pool] = start + partial.numel()
                places[name] = _Place(pool=pool, start=start, shape=tuple(partial.shape))
            self._groups.append((replace(group, partials={}), places))
        # Few tensors to copy to the host, whatever was recorded.
        self._pools = {pool: torch.cat(tensors) for pool, tensors in parts.items()}

    @property
    def n_bytes(self) -> int:
        """Memory held until the packet is written."""
        return sum(pool.numel() * pool.element_size() for pool in self._pools.values())

    def rows(self) -> Iterable[tuple[str, pa.Table]]:
        """One table of `tensor_stats` rows; waits for the device."""
        host = {pool: values.cpu().numpy() for pool, values in self._pools.items()}
        rows = [
            group_columns(self.step, group.rows, _statistic_columns(group, places, host))
            for group, places in self._groups
        ]
        yield "tensor_stats", arrow_table(rows)


def _statistic_columns(
    group: GroupResults, places: Mapping[str, _Place], host: Mapping[Pool, AnyFloatArray]
) -> dict[str, ColumnValues]:
    columns: dict[str, ColumnValues] = {}
    if group.layout is None:
        return columns
    partials = {
        name: host[place.pool][place.start : place.start + math.prod(place.shape)].reshape(
            place.shape
        )
        for name, place in places.items()
    }
    for statistic in group.statistics:
        is_known = group.rows.is_known
        if statistic.needs_gradient:
            is_known = is_known & group.rows.has_gradient
        values = statistic.finish(partials, group.layout)
        for name, column in zip(statistic.columns, values, strict=True):
            columns[name] = null_where_unknown(column, is_known)
    return columns
