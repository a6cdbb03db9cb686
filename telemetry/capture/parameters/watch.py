"""When parameters are sampled: around each optimizer's step, or around a loop's own updates."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import number_of
from telemetry.capture.parameters.observer import ParameterObserver
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.tensors.host import as_kept
from telemetry.format.step_flags import StepFlag


class _ParameterWatch(StepObserver):
    """What both ways of sampling share."""

    part: ClassVar[str] = "parameters"

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._parameters = ParameterObserver(around.catalogue, histograms=around.options.histograms)

    def begin(self, record: StepRecord, optimizer: Optimizer | None) -> None:
        """Read gradients and weights."""
        self._parameters.before(optimizer, record.step, record.clip)

    def end(self, record: StepRecord, optimizer: Optimizer | None) -> None:
        """Read the updates, and hand over the sample."""
        packet = self._parameters.after(optimizer, record.step)
        if packet is None:
            return
        record.flags |= StepFlag.SAMPLED
        if record.param_checksum is None:
            record.param_checksum = packet.weight_checksum
        record.grad_norms += (packet.grad_norm_unscaled,)
        if packet.sharded_grad_sumsq is not None:
            record.sharded_grad_sumsqs += (packet.sharded_grad_sumsq,)
        self.around.put(packet)
        if self.around.catalogue.has_changed:
            self.around.put(self.around.catalogue.packet())


class ParameterWatch(_ParameterWatch):
    """The parameters of each optimizer, around its first step in a sampled step of the loop."""

    def before_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Read gradients and weights."""
        self.begin(record, optimizer)

    def after_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Read the updates."""
        self.end(record, optimizer)


class HandUpdateWatch(_ParameterWatch):
    """The parameters of a loop without an optimizer, which updates them nobody knows when.

    Gradients and weights are read when a backward pass has ended, anew after each further one of
    the step, and the weights once more at its end.
    """

    at_rest = frozenset({"after_backward", "step_ended"})

    def sample_begins(self, record: StepRecord) -> None:
        """Be told of its backward passes and its end."""
        del record
        self.wake("after_backward")
        self.wake("step_ended")

    def after_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """Read gradients and weights."""
        del roots
        self.begin(record, None)

    def step_ended(self, record: StepRecord) -> None:
        """Read what the loop did to the weights."""
        self.rest("after_backward")
        self.rest("step_ended")
        self.end(record, None)


class NeverSteppedWatch(StepObserver):
    """The parameters of optimizers that never step, in a loop whose calls count as steps.

    Read when a backward pass has ended and at the end of the step, as those of a loop without an
    optimizer: that they stay what they are is what there is to see.
    """

    part: ClassVar[str] = "parameters"
    at_rest = frozenset({"after_backward", "step_ended"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._watches: list[_ParameterWatch] = []

    def sample_begins(self, record: StepRecord) -> None:
        """Be told of its backward passes and its end."""
        del record
        if self.around.ledger.never_stepped:
            self._watches = self._watches or [
                _ParameterWatch(self.around) for _ in self.around.optimizers
            ]
            self.wake("after_backward")
            self.wake("step_ended")

    def after_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """Read gradients and weights."""
        del roots
        for watch, optimizer in zip(self._watches, self.around.optimizers, strict=True):
            watch.begin(record, optimizer)

    def step_ended(self, record: StepRecord) -> None:
        """Read the weights once more, unless an optimizer has stepped after all."""
        self.rest("after_backward")
        self.rest("step_ended")
        if not self.around.ledger.has_stepped:
            rate = number_of(self.around.optimizers[0].param_groups[0], "lr")
            record.lr = None if rate is None else as_kept(rate)
            for watch, optimizer in zip(self._watches, self.around.optimizers, strict=True):
                watch.end(record, optimizer)
