"""Sum of squares, NaN and infinity counts of updates and optimizer state over the sample."""

import numpy as np
import torch

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.statistic import (
    ColumnValues,
    HostPartials,
    ParameterStatistic,
    Partials,
    Sample,
    n_valid,
    sum_of_squares,
)
from telemetry.capture.tensors.host import on_host
from telemetry.capture.tensors.sample_plan import ROW_LENGTH, RowLayout

# Norms of rows of 1,024 float32 elements whose squares keep their digits.
SAFE_NORM = (1e-14, 1e17)
SMALLEST_SCALE = 1e-37  # below, 1 / scale is no float32


def compute(sample: Sample) -> Partials:
    """Norms of the rows, of rows divided by their largest magnitude where that is safer.

    Second moments of 1e-20 are common and their squares are no float32.
    """
    if known_safe(sample):
        return {"norms": sample.norms} | sample.non_finite
    scale = torch.linalg.vector_norm(sample.values, torch.inf, dim=1).clamp_(SMALLEST_SCALE)
    scaled = torch.div(sample.values, scale.unsqueeze(1), out=sample.workspace.first)
    norms = torch.linalg.vector_norm(scaled, dim=1)
    return {"scaled_norms": norms, "scale": scale} | sample.non_finite


def finish(partials: HostPartials, layout: RowLayout) -> tuple[ColumnValues, ...]:
    """Columns sumsq, n_nan, n_inf; sumsq is NULL where no element is finite."""
    if "scaled_norms" in partials:
        norms = partials["scaled_norms"] * partials["scale"].astype(np.float64)
    else:
        norms = partials["norms"].astype(np.float64)
    sumsq = np.where(n_valid(partials, layout) > 0, sum_of_squares(norms, layout), np.nan)
    counts = [
        layout.total(partials[name]) if name in partials else np.zeros(len(layout))
        for name in ("n_nan", "n_inf")
    ]
    return sumsq, *counts


def known_safe(sample: Sample) -> bool:
    """Whether the host can tell that the plain norms are exact."""
    if not on_host(sample.values):
        return False
    norms = sample.norms.numpy()
    is_safe = (norms > SAFE_NORM[0]) & (norms < SAFE_NORM[1])
    return bool((is_safe | (sample.zeros.numpy() == ROW_LENGTH)).all())


STATISTIC = ParameterStatistic(
    id="sampled_norm",
    kinds=frozenset({Kind.UPDATE, Kind.OPTIMIZER_STATE}),
    columns=("sumsq", "n_nan", "n_inf"),
    compute=compute,
    finish=finish,
)
