"""Sum of squares, NaN and infinity counts of updates and optimizer state over the sample."""

import torch
from torch import Tensor

from telemetry.capture.statistic import Kind, ParameterStatistic, Sample, wide

SMALLEST_SCALE = 1e-30  # below, 1 / scale is no float32


def compute(sample: Sample) -> Tensor:
    """Columns sumsq, n_nan, n_inf; sumsq is NaN where no element is finite."""
    segments = sample.segments
    low, high = sample.bounds
    # Second moments of 1e-20 are common and their squares are no float32, so each tensor is divided
    # by its largest magnitude first.
    scale = torch.maximum(-low, high).clamp_(SMALLEST_SCALE)
    scaled = torch.mul(
        sample.values, segments.spread(scale.reciprocal()), out=sample.workspace.first
    )
    norms = torch.linalg.vector_norm(scaled, dim=1)
    sumsq = segments.total(wide(norms).square_()) * wide(scale).square_()
    sumsq.masked_fill_(low > high, torch.nan)
    none = torch.zeros_like(sumsq)
    n_nan = none if sample.n_nan is None else sample.n_nan
    n_inf = none if sample.n_inf is None else sample.n_inf
    return torch.stack([sumsq, n_nan.to(sumsq.dtype), n_inf.to(sumsq.dtype)])


STATISTIC = ParameterStatistic(
    id="sampled_norm",
    kinds=frozenset({Kind.UPDATE, Kind.OPTIMIZER_STATE}),
    columns=("sumsq", "n_nan", "n_inf"),
    compute=compute,
)
