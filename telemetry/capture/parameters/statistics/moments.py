"""Sum, minimum, maximum, largest magnitude and exact zeros of the finite elements.

Of those that were sampled; of all of gradients and weights where a kernel reads them.
"""

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.statistic import (
    ColumnValues,
    HostPartials,
    ParameterStatistic,
    Partials,
    Sample,
    n_valid,
    n_zero,
)
from telemetry.capture.parameters.whole_moments import MEASURES
from telemetry.capture.tensors.sample_plan import FloatArray, RowLayout

BoolArray: TypeAlias = npt.NDArray[np.bool_]


def compute(sample: Sample) -> Partials:
    """Sums, bounds and zeros of each row."""
    moments = sample.relations.moments
    if moments is not None:
        return {"whole": moments.measures}
    low, high = sample.bounds
    partials = {"sums": sample.sums, "lows": low, "highs": high, "zeros": sample.zeros}
    return partials | sample.non_finite


def finish(partials: HostPartials, layout: RowLayout) -> tuple[ColumnValues, ...]:
    """Columns sum, min, max, absmax, n_zero; all but n_zero NULL where no element is finite."""
    if "whole" in partials:
        rows = dict(zip(MEASURES, partials["whole"].astype(np.float64), strict=True))
        low, high = rows["min"], rows["max"]
        return (*_columns(rows["sum"], low, high, is_any=low <= high), rows["n_zero"])
    low, high = layout.smallest(partials["lows"]), layout.largest(partials["highs"])
    is_any = n_valid(partials, layout) > 0
    columns = _columns(layout.total(partials["sums"]), low, high, is_any=is_any)
    return (*columns, n_zero(partials, layout))


def _columns(
    total: FloatArray, low: FloatArray, high: FloatArray, *, is_any: BoolArray
) -> list[FloatArray]:
    """Columns sum, min, max, absmax; NULL where no element is finite."""
    values = (total, low, high, np.maximum(-low, high))
    return [np.where(is_any, column, np.nan) for column in values]


STATISTIC = ParameterStatistic(
    id="moments",
    kinds=frozenset(Kind),
    columns=("sum", "min", "max", "absmax", "n_zero"),
    compute=compute,
    finish=finish,
)
