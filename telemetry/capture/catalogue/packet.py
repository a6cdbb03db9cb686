"""Rows of the tables `tensors` and `modules` on their way to the writer."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import pyarrow as pa

from telemetry.format.tables import table
from telemetry.json_values import Json, dumps

_ROW_BYTES = 512  # of a row with its texts, about


class Kind(StrEnum):
    """What a row of `tensor_stats` describes."""

    WEIGHT = "weight"
    GRADIENT = "gradient"
    UPDATE = "update"
    OPTIMIZER_STATE = "optimizer_state"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorRow:
    """One row of `tensors`, less its depth."""

    tensor_id: int
    param_id: int
    name: str
    kind: str
    module: str
    module_id: int
    module_type: str
    shape: tuple[int, ...]
    dtype: str
    n: int
    fan_in: int
    lr_group: int | None
    trainable: bool
    shared_with: int | None
    sharding: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleRow:
    """One row of `modules`, less its depth."""

    module_id: int
    parent_id: int | None
    path: str
    type: str
    n_parameters: int
    role: str
    attributes: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class CataloguePacket:
    """Both tables as they were when the packet was made.

    Attributes:
        tensors: In order of registration.
        modules: In order of registration.
        order: Depth of the modules that ran in the first observed forward; empty until then.
    """

    tensors: Sequence[TensorRow]
    modules: Sequence[ModuleRow]
    order: Mapping[str, int]

    @property
    def n_bytes(self) -> int:
        """Memory held until the packet is written."""
        return _ROW_BYTES * (len(self.tensors) + len(self.modules))

    def rows(self) -> Iterable[tuple[str, pa.Table]]:
        """The rows of `tensors` and `modules`."""
        depths = module_depths([row.path for row in self.modules], self.order)
        yield "tensors", _arrow("tensors", [tensor_values(row, depths) for row in self.tensors])
        yield "modules", _arrow("modules", [module_values(row, self.order) for row in self.modules])


def module_depths(paths: Sequence[str], order: Mapping[str, int]) -> dict[str, int]:
    """Depth of every module: its place in the first forward.

    A module whose forward never ran (its weights may be used by its parent, as those of
    `MultiheadAttention.out_proj` are) has the depth of the module registered before it. Nothing
    but the root observed: the place of registration.

    Args:
        paths: All modules in order of registration.
        order: Depth of those that ran.
    """
    if not any(order.get(path) is not None for path in paths if path):
        return {path: place for place, path in enumerate(paths)}
    result: dict[str, int] = {}
    depth = 0
    for path in paths:
        depth = order.get(path, depth)
        result[path] = depth
    return result


def tensor_values(row: TensorRow, depths: Mapping[str, int]) -> dict[str, Json]:
    """Columns of one row of `tensors`."""
    return {
        "tensor_id": row.tensor_id,
        "param_id": row.param_id,
        "name": row.name,
        "kind": row.kind,
        "module": row.module,
        "module_id": row.module_id,
        "module_type": row.module_type,
        "depth": depths.get(row.module),
        "shape": json.dumps(row.shape),
        "dtype": row.dtype,
        "n": row.n,
        "fan_in": row.fan_in,
        "lr_group": row.lr_group,
        "trainable": row.trainable,
        "shared_with": row.shared_with,
        "sharding": row.sharding,
    }


def module_values(row: ModuleRow, order: Mapping[str, int]) -> dict[str, Json]:
    """Columns of one row of `modules`."""
    return {
        "module_id": row.module_id,
        "parent_id": row.parent_id,
        "path": row.path,
        "type": row.type,
        "depth": order.get(row.path),
        "n_parameters": row.n_parameters,
        "role": row.role,
        "attributes": dumps(row.attributes),
    }


def _arrow(name: str, values: Sequence[Mapping[str, Json]]) -> pa.Table:
    fields = [column for column in table(name).columns if column.name != "attempt"]
    schema = pa.schema([pa.field(column.name, column.arrow_type) for column in fields])
    return pa.Table.from_pylist(list(values), schema=schema)
