"""How strong weight decay is against what the gradient does: ||decay part|| / ||gradient part||.

Source: decoupled weight decay, arXiv:1711.05101.
"""

from torch import Tensor

from telemetry.capture.statistic import Kind, ParameterStatistic, Sample


def compute(sample: Sample) -> Tensor | None:
    """Column decay_ratio; None where the optimizer's rule is not known.

    Decoupled (AdamW): the update is -lr x decay x weight plus the gradient part. Coupled (SGD,
    Adam): decay x weight is added to the gradient.
    """
    relations = sample.relations
    settings, weight, gradient = relations.settings, relations.weight, relations.gradient
    if weight is None or gradient is None:
        return None
    if settings.decoupled_decay is not None:
        shrink = settings.decoupled_decay.to(weight.sumsq.dtype)
        decay = shrink.square() * weight.sumsq
        rest = sample.sumsq + 2 * shrink * sample.dot(weight.values) + decay
        return (decay / rest.clamp_(min=0)).sqrt_().float().unsqueeze(0)
    if settings.coupled_decay is not None:
        norm = gradient.sumsq.sqrt()
        if settings.loss_scale is not None:
            norm = norm / settings.loss_scale
        ratio = settings.coupled_decay * weight.sumsq.sqrt() / norm
        return ratio.float().unsqueeze(0)
    return None


STATISTIC = ParameterStatistic(
    id="decay_ratio",
    kinds=frozenset({Kind.UPDATE}),
    columns=("decay_ratio",),
    compute=compute,
    needs_gradient=True,
)
