"""Adam's second moment against the gradient and against epsilon.

Source: RMS spikes precede loss spikes, arXiv:2304.13013; epsilon larger than the second moment,
arXiv:2309.14322.
"""

import torch
from torch import Tensor

from telemetry.capture.statistic import Kind, ParameterStatistic, Sample, wide

SMALLEST_SQUARE = 1e-37  # keeps zero second moments and epsilon = 0 from dividing by zero


def compute(sample: Sample) -> Tensor | None:
    """Columns rms_ratio = sqrt(mean(g^2 / max(v, eps^2))), and n_below_eps: 0 < sqrt(v) < eps."""
    settings, gradient = sample.relations.settings, sample.relations.gradient
    if settings.epsilon is None or gradient is None:
        return None
    segments, scratch = sample.segments, sample.workspace
    square = segments.spread(settings.epsilon.square()).to(sample.values.dtype)
    torch.lt(sample.values, square, out=scratch.first)
    n_below = segments.total(scratch.first.sum(1))
    torch.le(sample.values, 0, out=scratch.first)
    # Padding and replaced elements are zeros and count on both sides.
    n_below = n_below - segments.total(scratch.first.sum(1))
    torch.maximum(sample.values, square.clamp(min=SMALLEST_SQUARE), out=scratch.first)
    ratio = torch.div(gradient.values, scratch.first.sqrt_(), out=scratch.second)
    norms = torch.linalg.vector_norm(ratio, dim=1)
    rms = (segments.total(wide(norms).square_()) / segments.n_elements).sqrt_()
    if settings.loss_scale is not None:
        rms = rms / settings.loss_scale
    return torch.stack([rms.float(), n_below.clamp_(min=0).float()])


STATISTIC = ParameterStatistic(
    id="second_moment",
    kinds=frozenset({Kind.OPTIMIZER_STATE}),
    columns=("rms_ratio", "n_below_eps"),
    compute=compute,
    needs_gradient=True,
)
