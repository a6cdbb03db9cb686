"""Cosine of gradients and updates with the same tensor's previous sample."""

import numpy as np

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.statistic import (
    ColumnValues,
    HostPartials,
    ParameterStatistic,
    Partials,
    Sample,
    sum_of_squares,
)
from telemetry.capture.tensors.sample_plan import RowLayout

# Root mean square below which products of elements lose digits in float32: no cosine then.
SMALLEST_RMS = 1e-18


def compute(sample: Sample) -> Partials | None:
    """Inner products of the rows with the sample before, and both norms."""
    previous = sample.relations.previous
    if previous is None:
        return None
    return {
        "previous_dots": sample.dots(previous.values),
        "norms": sample.norms,
        "previous_norms": previous.norms,
    }


def finish(partials: HostPartials, layout: RowLayout) -> tuple[ColumnValues, ...]:
    """Columns cos_prev, NULL where one of the two samples is zero, and previous_norm."""
    now = sum_of_squares(partials["norms"], layout)
    before = sum_of_squares(partials["previous_norms"], layout)
    is_known = np.minimum(now, before) > layout.sizes * SMALLEST_RMS**2
    with np.errstate(invalid="ignore", divide="ignore"):
        cosine = layout.total(partials["previous_dots"]) / np.sqrt(now * before)
    return np.where(is_known, np.clip(cosine, -1, 1), np.nan), np.sqrt(before)


STATISTIC = ParameterStatistic(
    id="cosine",
    kinds=frozenset({Kind.GRADIENT, Kind.UPDATE}),
    columns=("cos_prev", "previous_norm"),
    part_columns=frozenset({"previous_norm"}),
    compute=compute,
    finish=finish,
)
