"""When parameters are sampled: around each optimizer's step, or around a loop's own updates."""

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor
from torch.optim import Optimizer

from telemetry.capture.observe_optimizer import ParameterObserver
from telemetry.capture.parameter_packet import ParameterPacket
from telemetry.capture.step_ledger import StepRecord
from telemetry.capture.step_observer import StepObserver, Surroundings
from telemetry.step_flags import StepFlag


class _ParameterWatch(StepObserver):
    """What both ways of sampling share."""

    part: ClassVar[str] = "parameters"

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._parameters = ParameterObserver(around.catalogue, histograms=around.options.histograms)

    def _collect(self, record: StepRecord, packet: ParameterPacket | None) -> None:
        if packet is None:
            return
        record.flags |= StepFlag.SAMPLED
        if record.param_checksum is None:
            record.param_checksum = packet.weight_checksum
        record.grad_norms += (packet.grad_norm_unscaled,)
        self.around.put(packet)
        if self.around.catalogue.has_changed:
            self.around.put(self.around.catalogue.packet())


class ParameterWatch(_ParameterWatch):
    """The parameters of each optimizer, around its first step in a sampled step of the loop."""

    def before_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Read gradients and weights."""
        self._parameters.before(optimizer, record.step, record.clip)

    def after_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Read the updates."""
        self._collect(record, self._parameters.after(optimizer, record.step))


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
        self._parameters.before(None, record.step, None)

    def step_ended(self, record: StepRecord) -> None:
        """Read what the loop did to the weights."""
        self.rest("after_backward")
        self.rest("step_ended")
        self._collect(record, self._parameters.after(None, record.step))
