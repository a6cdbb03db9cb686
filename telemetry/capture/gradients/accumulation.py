"""What accumulation over several backward passes leaves: a micro-batch's gradient, the divisions.

The gradient of one micro-batch is held against that of the whole step; the constants by which the
roots of the passes were multiplied last tell whether the loop divides its losses.
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import parameters_of
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver
from telemetry.capture.tensors.host import as_kept
from telemetry.capture.tensors.norms import tensor_norms
from telemetry.capture.tensors.plain import is_sharded, n_copies, plain

MICRO_GRAD_SUMSQ = "micro_grad_sumsq"
ROOT_FACTOR_SUM = "root_factor_sum"
MAX_DEPTH = 16  # of the chain of operations behind a root
PASSING = frozenset(
    {"Alias", "Clone", "Neg", "Squeeze", "ToCopy", "UnsafeView", "Unsqueeze", "View"}
)


class MicroGradients(StepObserver):
    """Fills `micro_grad_sumsq` of sampled steps that accumulate.

    That a second backward pass will come is not known when the first ends; what the step before
    did is, and a loop that does not accumulate pays nothing.
    """

    part = "micro_gradients"
    at_rest = frozenset({"after_backward"})

    def sample_begins(self, record: StepRecord) -> None:
        """Be told of its first backward pass if the last step had several."""
        if self.around.ledger.accumulated_before(record):
            self.wake("after_backward")

    def after_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """Read what the first backward pass left in the gradients."""
        del roots
        self.rest("after_backward")
        if record.backward_calls == 1:
            with torch.no_grad():
                sumsq = self._sumsq()
            if sumsq is not None:
                record.values[MICRO_GRAD_SUMSQ] = sumsq

    def after_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Forget it if no second pass came: it is the gradient of the whole step."""
        del optimizer
        self.rest("after_backward")
        if record.backward_calls < 2:  # noqa: PLR2004 - one pass accumulates nothing
            record.forget(MICRO_GRAD_SUMSQ)

    def _sumsq(self) -> Tensor | None:
        alike: dict[tuple[torch.device, int], list[Tensor]] = {}
        for gradient, copies in self._gradients():
            alike.setdefault((gradient.device, copies), []).append(gradient)
        sums = [
            tensor_norms(gradients).square().sum() / copies
            for (_, copies), gradients in alike.items()
        ]
        if not sums:
            return None
        return torch.stack([part.to(sums[0].device, non_blocking=True) for part in sums]).sum()

    def _gradients(self) -> Iterator[tuple[Tensor, int]]:
        """Each gradient, and how many ranks add the same one to the sum over ranks."""
        seen: set[int] = set()
        for optimizer in self.around.optimizers:
            for parameter in parameters_of(optimizer):
                if parameter.grad is None or id(parameter) in seen:
                    continue
                seen.add(id(parameter))
                gradient = plain(parameter.grad)
                if gradient is not None:
                    yield gradient, n_copies(parameter) if is_sharded(parameter) else 1


class RootFactors(StepObserver):
    """Keeps the factors of sampled steps that accumulate.

    What a loop reports as its loss may be the loss before or after the division by the number of
    micro-batches; only the graph tells whether it divides. Passes between which gradients are
    cleared do not accumulate (the two of sharpness-aware minimisation), nor do those of a closure.
    """

    part = "root_factors"
    at_rest = frozenset({"before_backward"})

    def sample_begins(self, record: StepRecord) -> None:
        """Be told of its backward passes if it may have several: as the last one, or the first."""
        ledger = self.around.ledger
        if not ledger.ended or ledger.accumulated_before(record):
            self.wake("before_backward")

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """Read the graph behind the root."""
        if record.parts.get(ROOT_FACTOR_SUM) and self._are_cleared():
            self.rest("before_backward")
            record.forget(ROOT_FACTOR_SUM)
            return
        for root in roots:
            factor = constant_factor(root.grad_fn)
            record.append(ROOT_FACTOR_SUM, math.nan if factor is None else factor)

    def before_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Later passes are of closures, or of other optimizers; one pass accumulates nothing."""
        del optimizer
        self.rest("before_backward")
        if len(record.parts.get(ROOT_FACTOR_SUM, ())) < 2:  # noqa: PLR2004 - of several passes
            record.forget(ROOT_FACTOR_SUM)

    def _are_cleared(self) -> bool:
        return all(
            parameter.grad is None
            for optimizer in self.around.optimizers
            for parameter in parameters_of(optimizer)
        )


class _Factor(NamedTuple):
    """A product of numbers and of one-element tensors on other devices."""

    number: float
    tensors: tuple[Tensor, ...] = ()

    def times(self, value: Tensor, *, inverse: bool) -> "_Factor":
        known = as_kept(value.reshape(()))
        if isinstance(known, Tensor):
            return self._replace(tensors=(*self.tensors, 1 / known if inverse else known))
        number = self.number / known if inverse and known else self.number * known
        return self._replace(number=number)


def constant_factor(node: Node | None) -> Tensor | float | None:
    """The constant by which what a node computes was multiplied last; 1 where it was by none.

    Of a sum, the largest factor of its terms.

    Args:
        node: `grad_fn` of a scalar whose graph was not freed.

    Returns:
        0-d where a factor lies on another device; None where it cannot be read.
    """
    try:
        found = _factor(node, MAX_DEPTH)
    except RuntimeError:  # a constant that was changed in place since
        return None
    if found is None:
        return None
    product: Tensor | float = found.number
    for tensor in found.tensors:
        product = tensor * product
    return product


def _factor(node: Node | None, depth: int) -> _Factor | None:
    if node is None or not depth:
        return _Factor(1.0)
    base = node.name().rpartition("Backward")[0].rpartition("::")[2]
    varying = [following for following, _ in node.next_functions if following is not None]
    if base == "Add":
        return _largest([_factor(term, depth - 1) for term in varying])
    is_product = base in {"Mul", "Div"} and len(varying) == 1
    constant = _constant(node) if is_product else None
    if constant is None and base not in PASSING:
        return _Factor(1.0)
    inner = _factor(varying[0], depth - 1)
    if inner is None or constant is None:
        return inner if base != "Neg" or inner is None else inner._replace(number=-inner.number)
    return inner.times(constant, inverse=base == "Div")


def _constant(node: Node) -> Tensor | None:
    """The one-element constant of a product or quotient with one varying operand."""
    operands = [following for following, _ in node.next_functions]
    if None not in operands:  # a number inside of torch, as in a cross entropy of soft labels
        return None
    first, second = operands
    found = getattr(node, "_saved_self" if first is None else "_saved_other")
    is_divisor = second is None or "Mul" in node.name()  # a constant over something is no factor
    return found if is_divisor and isinstance(found, Tensor) and found.numel() == 1 else None


def _largest(terms: Sequence[_Factor | None]) -> _Factor | None:
    known = [term for term in terms if term is not None]
    if len(known) < len(terms) or any(term.tensors for term in known):
        return known[0] if len(known) == 1 else None
    return max(known, key=lambda term: abs(term.number), default=None)
