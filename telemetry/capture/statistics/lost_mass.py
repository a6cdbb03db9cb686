"""Share of the intended update that rounding of low-precision weights lost.

1 - <u, u*> / ||u*||^2, where u* is the update that Adam's state implies, in float32. An element is
lost where |u*| is below half a unit in the last place of the weight.

Source: arXiv:2010.06192.
"""

import torch
from torch import Tensor

from telemetry.capture.statistic import Kind, ParameterStatistic, Sample


def compute(sample: Sample) -> Tensor | None:
    """Column lost_mass of float16 and bfloat16 weights; None without Adam's state."""
    relations = sample.relations
    settings, second = relations.settings, relations.second_moment
    if (
        relations.first_moment is None
        or second is None
        or relations.weight is None
        or settings.lr is None
        or settings.epsilon is None
        or settings.first_correction is None
        or settings.low_precision is None
    ):
        return None
    segments, scratch = sample.segments, sample.workspace
    root = torch.sqrt(second.values.clamp(min=0), out=scratch.first)
    # Padding has 0 / epsilon = 0; epsilon = 0 would make it NaN.
    root.add_(segments.spread(settings.epsilon).clamp(min=torch.finfo(torch.float32).tiny))
    step_size = segments.spread(-settings.lr / settings.first_correction)
    intended = torch.mul(relations.first_moment, step_size, out=scratch.second).div_(root)
    if settings.decoupled_decay is not None:
        intended.sub_(relations.weight.values * segments.spread(settings.decoupled_decay))
    kept = sample.dot(intended)
    norms = segments.total(torch.linalg.vector_norm(intended, dim=1).square_())
    lost = (1 - kept / norms).float()
    return torch.where(settings.low_precision, lost, torch.nan).unsqueeze(0)


STATISTIC = ParameterStatistic(
    id="lost_mass",
    kinds=frozenset({Kind.UPDATE}),
    columns=("lost_mass",),
    compute=compute,
    needs_gradient=True,
)
