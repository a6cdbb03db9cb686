"""Share of the intended update that rounding of low-precision weights lost.

1 - <u, u*> / ||u*||^2, where u* is the update that the state of Adam or SGD implies, in
float32. An element is
lost where |u*| is below half a unit in the last place of the weight.

Source: arXiv:2010.06192.
"""

import numpy as np
import torch
from torch import Tensor

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


def compute(sample: Sample) -> Partials | None:
    """Of each row: inner product of update and intended update, and norm of the latter."""
    settings = sample.relations.settings
    if settings.low_precision is None:
        return None
    intended = _intended_by_sgd(sample) if settings.is_plain_sgd else _intended_by_adam(sample)
    if intended is None:
        return None
    return {
        "kept": sample.dots(intended),
        "intended_norms": torch.linalg.vector_norm(intended, dim=1),
        "low_precision": settings.low_precision,
    }


def _intended_by_adam(sample: Sample) -> Tensor | None:
    relations = sample.relations
    settings, second = relations.settings, relations.second_moment
    if (
        relations.first_moment is None
        or second is None
        or relations.weight is None
        or settings.lr is None
        or settings.epsilon is None
        or settings.first_correction is None
    ):
        return None
    spread, scratch = sample.segments.spread, sample.workspace
    root = torch.clamp(second.values, min=0, out=scratch.first).sqrt_()
    # Padding has 0 / epsilon = 0; epsilon = 0 would make it NaN.
    root.add_(spread(settings.epsilon).clamp(min=torch.finfo(torch.float32).tiny))
    step_size = spread(-settings.lr / settings.first_correction)
    intended = relations.first_moment.mul_(step_size).div_(root)
    if settings.decoupled_decay is not None:
        intended.sub_(relations.weight.values * spread(settings.decoupled_decay))
    return intended


def _intended_by_sgd(sample: Sample) -> Tensor | None:
    relations = sample.relations
    settings, gradient, weight = relations.settings, relations.gradient, relations.weight
    if settings.lr is None or gradient is None or weight is None:
        return None
    spread = sample.segments.spread
    step_size = spread(-settings.lr)
    if relations.first_moment is not None:  # with decay and gradient of this step in it
        return relations.first_moment.mul_(step_size)
    scale = settings.loss_scale
    gradient_size = step_size if scale is None else step_size / scale.to(step_size.device)
    intended = gradient.values * gradient_size
    if settings.coupled_decay is not None:
        intended.add_(weight.values * (step_size * spread(settings.coupled_decay)))
    return intended


def finish(partials: HostPartials, layout: RowLayout) -> tuple[ColumnValues, ...]:
    """Columns lost_mass and intended_norm of float16 and bfloat16 weights; NULL for others."""
    intended = sum_of_squares(partials["intended_norms"], layout)
    with np.errstate(invalid="ignore", divide="ignore"):
        lost = 1 - layout.total(partials["kept"]) / intended
    is_low = partials["low_precision"] > 0
    return np.where(is_low, lost, np.nan), np.where(is_low, np.sqrt(intended), np.nan)


STATISTIC = ParameterStatistic(
    id="lost_mass",
    kinds=frozenset({Kind.UPDATE}),
    columns=("lost_mass", "intended_norm"),
    part_columns=frozenset({"intended_norm"}),
    compute=compute,
    finish=finish,
    needs_gradient=True,
)
