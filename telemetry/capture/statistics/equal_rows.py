"""Whether all rows of a matrix are equal, in weights and gradients of the first steps.

Units that start equal and receive equal gradients stay equal. Up to 64 evenly spaced rows and their
first 1,024 elements are compared: bit-identical there means identical.
"""

import torch
from torch import Tensor

from telemetry.capture.statistic import Kind, ParameterStatistic, Sample

LAST_STEP = 2
N_ROWS = 64
N_COLUMNS = 1_024


def compute(sample: Sample) -> Tensor | None:
    """Column rows_equal, 1 or 0; NaN for tensors of fewer than two dimensions or rows."""
    if sample.step > LAST_STEP:
        return None
    unknown = torch.full((), torch.nan, device=sample.values.device)
    equal = [
        rows_equal(t) if t.dim() > 1 and len(t) > 1 else unknown for t in sample.relations.tensors
    ]
    return torch.stack(equal).unsqueeze(0)


def rows_equal(matrix: Tensor) -> Tensor:
    """1 if the compared rows are equal, else 0; 0-d float32 on the matrix's device."""
    spacing = -(-len(matrix) // N_ROWS)
    rows = matrix[::spacing].flatten(1)[:, :N_COLUMNS]
    return (rows == rows[:1]).all().float()


STATISTIC = ParameterStatistic(
    id="equal_rows",
    kinds=frozenset({Kind.GRADIENT, Kind.WEIGHT}),
    columns=("rows_equal",),
    compute=compute,
)
