"""Whether all rows of a matrix are equal, in weights and gradients of the first steps.

Units that start equal and receive equal gradients stay equal. Up to 64 evenly spaced rows and their
first 1,024 elements are compared: bit-identical there means identical.
"""

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.sample_plan import RowLayout
from telemetry.capture.statistic import (
    ColumnValues,
    HostPartials,
    Kind,
    ParameterStatistic,
    Partials,
    Sample,
)

LAST_STEP = 2
N_ROWS = 64
N_COLUMNS = 1_024


def compute(sample: Sample) -> Partials | None:
    """1 or 0 for each tensor; NaN for those of fewer than two dimensions or rows."""
    if sample.step > LAST_STEP:
        return None
    unknown = torch.full((), torch.nan, device=sample.values.device)
    equal = [
        rows_equal(tensor) if tensor.dim() > 1 and len(tensor) > 1 else unknown
        for tensor in sample.relations.tensors
    ]
    return {"rows_equal": torch.stack(equal)}


def finish(partials: HostPartials, layout: RowLayout) -> tuple[ColumnValues, ...]:
    """Column rows_equal."""
    del layout
    return (partials["rows_equal"].astype(np.float64),)


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
    finish=finish,
)
