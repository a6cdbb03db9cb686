"""Cosine of gradients and updates with the same tensor's previous sample."""

import torch
from torch import Tensor

from telemetry.capture.statistic import Kind, ParameterStatistic, Sample

# Root mean square below which products of elements lose digits in float32: no cosine then.
SMALLEST_RMS = 1e-18


def compute(sample: Sample) -> Tensor | None:
    """Column cos_prev, NaN where one of the two samples is zero."""
    previous = sample.relations.previous
    if previous is None:
        return None
    dot = sample.dot(previous.values)
    smallest = sample.segments.n_elements.to(dot.dtype) * SMALLEST_RMS**2
    known = (sample.sumsq > smallest).logical_and_(previous.sumsq > smallest)
    cosine = dot / (sample.sumsq * previous.sumsq).sqrt_()
    return torch.where(known, cosine.clamp_(-1, 1), torch.nan).float().unsqueeze(0)


STATISTIC = ParameterStatistic(
    id="cosine",
    kinds=frozenset({Kind.GRADIENT, Kind.UPDATE}),
    columns=("cos_prev",),
    compute=compute,
)
