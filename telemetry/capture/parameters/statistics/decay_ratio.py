"""How strong weight decay is against what the gradient does: ||decay part|| / ||gradient part||.

Decoupled (AdamW): the update is -lr x decay x weight plus the gradient part. Coupled (SGD, Adam):
decay x weight is added to the gradient.

Source: decoupled weight decay, arXiv:1711.05101.
"""

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
from telemetry.capture.tensors.host import on_host
from telemetry.capture.tensors.sample_plan import FloatArray, RowLayout


def compute(sample: Sample) -> Partials | None:
    """What the two rules need; None where the optimizer's rule is not known."""
    relations = sample.relations
    settings, weight, gradient = relations.settings, relations.weight, relations.gradient
    decay = settings.decoupled_decay
    factor = settings.coupled_decay if decay is None else decay
    if factor is None or weight is None or gradient is None:
        return None
    if on_host(factor) and not factor.numpy().any():
        return {"decay": factor}
    partials = {"decay": factor, "weight_norms": weight.norms}
    if decay is not None:
        return partials | {"norms": sample.norms, "weight_dots": sample.dots(weight.values)}
    if settings.loss_scale is not None:
        partials["loss_scale"] = settings.loss_scale
    return partials | {"gradient_norms": gradient.norms}


def finish(partials: HostPartials, layout: RowLayout) -> tuple[ColumnValues, ...]:
    """Columns decay_ratio, decay_norm and rest_norm."""
    factor = partials["decay"].astype(np.float64)
    if "weight_norms" not in partials:
        # Of all shards, for they share the setting: what the rest is does not matter then.
        zeros = np.zeros(len(layout))
        return zeros, zeros, np.full(len(layout), np.nan)
    # A setting may be infinite, or a square too large: what comes of it is NaN or infinite too.
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        decay = factor**2 * sum_of_squares(partials["weight_norms"], layout)
        rest = np.maximum(_rest(partials, layout, factor, decay), 0)
        return np.sqrt(decay / rest), np.sqrt(decay), np.sqrt(rest)


def _rest(
    partials: HostPartials, layout: RowLayout, factor: FloatArray, decay: FloatArray
) -> FloatArray:
    """Square of the gradient part."""
    if "weight_dots" in partials:
        cross = 2 * factor * layout.total(partials["weight_dots"])
        return sum_of_squares(partials["norms"], layout) + cross + decay
    rest = sum_of_squares(partials["gradient_norms"], layout)
    if "loss_scale" in partials:
        rest = rest / partials["loss_scale"].astype(np.float64) ** 2
    return rest


STATISTIC = ParameterStatistic(
    id="decay_ratio",
    kinds=frozenset({Kind.UPDATE}),
    columns=("decay_ratio", "decay_norm", "rest_norm"),
    part_columns=frozenset({"decay_norm", "rest_norm"}),
    compute=compute,
    finish=finish,
    needs_gradient=True,
)
