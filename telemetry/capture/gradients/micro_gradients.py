"""The gradient of one micro-batch, to be held against that of the whole step."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import parameters_of
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver
from telemetry.capture.tensors.norms import tensor_norms
from telemetry.capture.tensors.plain import is_sharded, n_copies, plain

COLUMN = "micro_grad_sumsq"


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
                record.values[COLUMN] = sumsq

    def after_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Forget it if no second pass came: it is the gradient of the whole step."""
        del optimizer
        self.rest("after_backward")
        if record.backward_calls < 2:  # noqa: PLR2004 - one pass accumulates nothing
            record.forget(COLUMN)

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
