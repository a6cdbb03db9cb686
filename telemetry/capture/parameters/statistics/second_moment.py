"""Adam's second moment against the gradient and against epsilon.

Source: RMS spikes precede loss spikes, arXiv:2304.13013; epsilon larger than the second moment,
arXiv:2309.14322.
"""

import numpy as np
import torch

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.statistic import (
    ColumnValues,
    HostPartials,
    ParameterStatistic,
    Partials,
    Sample,
    sum_of_squares,
)
from telemetry.capture.tensors.host import on_host
from telemetry.capture.tensors.sample_plan import RowLayout

SMALLEST_SQUARE = 1e-37  # keeps zero second moments and epsilon = 0 from dividing by zero


def compute(sample: Sample) -> Partials | None:
    """Of each row: elements below epsilon^2, elements not above 0, norm of g / max(root, eps)."""
    settings, gradient = sample.relations.settings, sample.relations.gradient
    if settings.epsilon is None or gradient is None:
        return None
    scratch = sample.workspace
    square = sample.segments.spread(settings.epsilon.square()).to(sample.values.dtype)
    partials = {
        "below": torch.lt(sample.values, square, out=scratch.first).sum(1),
        "not_above_zero": sample.zeros,
    }
    if not (on_host(sample.values) and sample.bounds[0].numpy().min() >= 0):
        partials["not_above_zero"] = torch.le(sample.values, 0, out=scratch.first).sum(1)
    floor = square.clamp_(min=SMALLEST_SQUARE)
    root = torch.maximum(sample.values, floor, out=scratch.first).rsqrt_()
    ratio = root.mul_(gradient.values)
    partials["ratio_norms"] = torch.linalg.vector_norm(ratio, dim=1)
    if settings.loss_scale is not None:
        partials["loss_scale"] = settings.loss_scale
    return partials


def finish(partials: HostPartials, layout: RowLayout) -> tuple[ColumnValues, ...]:
    """Columns rms_ratio = sqrt(mean(g^2 / max(v, eps^2))), and n_below_eps: 0 < sqrt(v) < eps."""
    rms = np.sqrt(sum_of_squares(partials["ratio_norms"], layout) / layout.sizes)
    if "loss_scale" in partials:
        rms = rms / partials["loss_scale"].astype(np.float64)
    # Padding and replaced elements are zeros and count on both sides.
    n_below = layout.total(partials["below"]) - layout.total(partials["not_above_zero"])
    return rms, np.maximum(n_below, 0)


STATISTIC = ParameterStatistic(
    id="second_moment",
    kinds=frozenset({Kind.OPTIMIZER_STATE}),
    columns=("rms_ratio", "n_below_eps"),
    compute=compute,
    finish=finish,
    needs_gradient=True,
)
