"""How the update relates to the gradient: their inner product, and gradients without effect."""

import torch
from torch import Tensor

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.statistic import (
    ColumnValues,
    HostPartials,
    ParameterStatistic,
    Partials,
    Sample,
    n_zero,
)
from telemetry.capture.tensors.host import on_host
from telemetry.capture.tensors.sample_plan import RowLayout


def compute(sample: Sample) -> Partials | None:
    """Inner products of the rows with the gradient, and how many elements are stuck."""
    if sample.relations.gradient is None:
        return None
    gradient = sample.relations.gradient
    partials = {"gradient_dots": sample.dots(gradient.values)}
    # Zeros on both sides are rare in networks without sparsity, and finding them costs as much as
    # all moments of the update.
    if known_without_zeros(sample) or known_without_zeros(gradient):
        return partials | {"zeros": sample.zeros} | sample.non_finite
    return partials | {"stuck": stuck(sample, gradient.values)}


def finish(partials: HostPartials, layout: RowLayout) -> tuple[ColumnValues, ...]:
    """Columns dot_grad, and n_stuck: elements of non-zero gradient and zero update."""
    is_counted = "stuck" in partials
    n_stuck = layout.total(partials["stuck"]) if is_counted else n_zero(partials, layout)
    return layout.total(partials["gradient_dots"]), n_stuck


def known_without_zeros(sample: Sample) -> bool:
    """Whether the host can tell that every element is finite and none is zero."""
    if sample.finite is not None or not on_host(sample.zeros):
        return False
    n_padding = sample.segments.layout.n_padding.sum()
    return bool(sample.zeros.numpy().sum() == n_padding)


def stuck(sample: Sample, gradient: Tensor) -> Tensor:
    """Elements of non-zero gradient and zero update of each row."""
    integer = sample.workspace.integers.dtype
    both = torch.bitwise_or(
        sample.values.view(integer), gradient.view(integer), out=sample.workspace.integers
    )
    # Without the sign bit, for the sake of negative zeros.
    both_zero = torch.eq(both.bitwise_left_shift_(1), 0, out=sample.workspace.first)
    n_stuck = sample.zeros - both_zero.sum(1)
    if sample.finite is not None:
        # Non-finite updates were replaced by zeros; they are no zeros.
        replaced = torch.ne(gradient, 0).logical_and_(~sample.finite)
        n_stuck = n_stuck - replaced.sum(1, dtype=n_stuck.dtype)
    return n_stuck


STATISTIC = ParameterStatistic(
    id="update_sums",
    kinds=frozenset({Kind.UPDATE}),
    columns=("dot_grad", "n_stuck"),
    compute=compute,
    finish=finish,
    needs_gradient=True,
)
