"""How the update relates to the gradient: their inner product, and gradients without effect."""

import torch
from torch import Tensor

from telemetry.capture.statistic import Kind, ParameterStatistic, Sample


def compute(sample: Sample) -> Tensor | None:
    """Columns dot_grad, and n_stuck: elements of non-zero gradient and zero update."""
    if sample.relations.gradient is None:
        return None
    gradient = sample.relations.gradient.values
    dot = sample.dot(gradient)
    integer = sample.workspace.integers.dtype
    # Negative zero was made positive, so zero is the only value without a bit.
    both = torch.bitwise_or(
        sample.values.view(integer), gradient.view(integer), out=sample.workspace.integers
    )
    zeros = torch.eq(both, 0, out=sample.workspace.first)
    n_both_zero = sample.segments.total(zeros.sum(1))
    n_stuck = sample.n_zero_with_padding - n_both_zero
    if sample.finite is not None:
        # Non-finite updates were replaced by zeros; they are no zeros.
        replaced = torch.ne(gradient, 0).logical_and_(~sample.finite)
        n_stuck = n_stuck - sample.segments.total(replaced.sum(1, dtype=torch.float32))
    return torch.stack([dot.float(), n_stuck.float()])


STATISTIC = ParameterStatistic(
    id="update_sums",
    kinds=frozenset({Kind.UPDATE}),
    columns=("dot_grad", "n_stuck"),
    compute=compute,
    needs_gradient=True,
)
