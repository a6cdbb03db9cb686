"""Whether all rows of a matrix are equal, in weights and gradients of the first steps.

Units that start equal and receive equal gradients stay equal. Up to 64 evenly spaced rows and their
first 1,024 elements are compared: bit-identical there means identical. Where the rows lie on
several ranks, each compares its own and leaves a hash of its first, by which ranks are compared.
"""

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.statistic import (
    ColumnValues,
    HostPartials,
    ParameterStatistic,
    Partials,
    Sample,
)
from telemetry.capture.tensors.position_hash import splitmix64
from telemetry.capture.tensors.sample_plan import RowLayout

LAST_STEP = 2
N_ROWS = 64
N_COLUMNS = 1_024
HASH_BITS = 53  # exact in float64, as partial results are


def compute(sample: Sample) -> Partials | None:
    """1 or 0 for each tensor; NaN for those of fewer than two dimensions or rows."""
    if sample.step > LAST_STEP:
        return None
    unknown = torch.full((), torch.nan, device=sample.values.device)
    tensors, row_shards = sample.relations.tensors, sample.relations.row_shards
    equal = [
        rows_equal(tensor) if tensor.dim() > 1 and len(tensor) > (not is_shard) else unknown
        for tensor, is_shard in zip(tensors, row_shards, strict=True)
    ]
    if not any(row_shards):
        return {"rows_equal": torch.stack(equal)}
    hashes = [
        row_hash(tensor) if is_shard and tensor.dim() > 1 else unknown.double()
        for tensor, is_shard in zip(tensors, row_shards, strict=True)
    ]
    return {"rows_equal": torch.stack(equal), "row_hash": torch.stack(hashes)}


def finish(partials: HostPartials, layout: RowLayout) -> tuple[ColumnValues, ...]:
    """Columns rows_equal and row_hash."""
    hashes = partials.get("row_hash", np.full(len(layout), np.nan))
    return partials["rows_equal"].astype(np.float64), hashes.astype(np.float64)


def rows_equal(matrix: Tensor) -> Tensor:
    """1 if the compared rows are equal, else 0; 0-d float32 on the matrix's device."""
    spacing = -(-len(matrix) // N_ROWS)
    rows = matrix[::spacing].flatten(1)[:, :N_COLUMNS]
    return (rows == rows[:1]).all().float()


def row_hash(matrix: Tensor) -> Tensor:
    """Hash of the compared part of the first row, a whole number below 2^53; 0-d float64."""
    row = matrix[0].flatten()[:N_COLUMNS].float() + 0.0  # a negative zero is a zero
    weights = torch.from_numpy(splitmix64(np.arange(len(row))) | 1)
    bits = row.view(torch.int32).long().mul_(weights.to(row.device, non_blocking=True))
    return bits.sum().bitwise_and_((1 << HASH_BITS) - 1).double()


STATISTIC = ParameterStatistic(
    id="equal_rows",
    kinds=frozenset({Kind.GRADIENT, Kind.WEIGHT}),
    columns=("rows_equal", "row_hash"),
    part_columns=frozenset({"row_hash"}),
    compute=compute,
    finish=finish,
)
