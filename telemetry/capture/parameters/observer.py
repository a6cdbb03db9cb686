"""Gradients, weights, updates and optimizer state, before and after each optimizer's step."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from telemetry.capture.catalogue.catalogue import Catalogue, ParameterEntry
from telemetry.capture.catalogue.group_settings import number_of
from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.blocks import ParameterBlock, plan_blocks, row_names
from telemetry.capture.parameters.rows import ParameterPacket, RowGroup, SampledRows
from telemetry.capture.parameters.sampling import BlockSample
from telemetry.capture.parameters.statistic import ParameterStatistic, parameter_statistics
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.steps.provenance import ClipRecord, loss_scale
from telemetry.capture.tensors.host import as_kept
from telemetry.capture.tensors.plain import is_sharded, local_part, n_real
from telemetry.format.step_flags import StepFlag

# Samples between two searches of the model for parameters that are in no optimizer.
SEARCH_EVERY = 16


class ParameterObserver(StepObserver):
    """Samples the parameters of each optimizer around its first step in a sampled step.

    Nothing of training is written to or kept; no random number is drawn; no device is waited for.
    The first optimizer's sample also holds the trainable parameters that are in no optimizer: their
    update is the difference to their previous sample.

    Where no optimizer steps, be there none or do calls count as steps, nobody knows when weights
    are updated: a sample begins when a backward pass has ended, anew after each further one of the
    step, and ends with the step.
    """

    part: ClassVar[str] = "parameters"
    at_rest = frozenset({"after_backward", "step_ended"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._catalogue = around.catalogue
        statistics = tuple(
            statistic
            for statistic in parameter_statistics()
            if around.options.histograms or "hist" not in statistic.columns
        )
        optimizers: Sequence[Optimizer | None] = around.optimizers or (None,)
        self._sampled = {
            optimizer: SampledParameters(optimizer, self._catalogue, statistics)
            for optimizer in optimizers
        }
        self._unowned = SampledParameters(None, self._catalogue, statistics)
        self._shared_step = -1
        self._takers: dict[int, Optimizer] = {}  # of what several hold, in that step
        self._n_samples = 0
        self._revision = -1

    def before_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Read gradients and weights."""
        self._begin(record, optimizer)

    def after_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Read the updates and the optimizer's state."""
        self._end(record, optimizer)

    def sample_begins(self, record: StepRecord) -> None:
        """Where no optimizer steps, be told of the backward passes and the end of the step."""
        del record
        if not self.around.optimizers or self.around.ledger.never_stepped:
            self.wake("after_backward")
            self.wake("step_ended")

    def after_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """Read gradients and weights."""
        del roots
        for optimizer in self._sampled:
            self._begin(record, optimizer)

    def step_ended(self, record: StepRecord) -> None:
        """Read the weights once more, unless an optimizer has stepped after all."""
        self.rest("after_backward")
        self.rest("step_ended")
        if self.around.ledger.has_stepped:
            return
        if self.around.optimizers:
            rate = number_of(self.around.optimizers[0].param_groups[0], "lr")
            record.lr = None if rate is None else as_kept(rate)
        for optimizer in self._sampled:
            self._end(record, optimizer)

    # --- inside -------------------------------------------------------------------------------

    def _begin(self, record: StepRecord, optimizer: Optimizer | None) -> None:
        with torch.no_grad():
            sampled = self._sampled[optimizer]
            sampled.follow(self._moving(optimizer, record.step))
            sampled.begin(record.step, record.clip)
            if optimizer is not None and optimizer is self._catalogue.optimizers[0]:
                sampled.others = self._sample_unowned(record)

    def _end(self, record: StepRecord, optimizer: Optimizer | None) -> None:
        with torch.no_grad():
            packet = self._sampled[optimizer].end(record.step)
        if packet is None:
            return
        record.flags |= StepFlag.SAMPLED
        if record.param_checksum is None:
            record.param_checksum = packet.weight_checksum
        record.grad_norms += (packet.grad_norm_unscaled,)
        if packet.sharded_grad_sumsq is not None:
            record.sharded_grad_sumsqs += (packet.sharded_grad_sumsq,)
        self.around.put(packet)
        if self._catalogue.has_changed:
            self.around.put(self._catalogue.packet())

    def _moving(self, optimizer: Optimizer | None, step: int) -> list[tuple[Tensor, int]]:
        """Parameters that may move in the coming step, with the indices of their groups.

        What two optimizers hold is sampled by the one that steps first.
        """
        if optimizer is None:
            self._catalogue.refresh()
            return [(parameter, 0) for parameter in self._catalogue.without_optimizer()]
        found = [
            (parameter, index)
            for index, group in enumerate(optimizer.param_groups)
            for parameter in group["params"]
            if (parameter.requires_grad or parameter.grad is not None) and not is_lazy(parameter)
        ]
        shared = self._catalogue.of_several_optimizers
        if not shared:
            return found
        if self._shared_step != step:
            self._shared_step, self._takers = step, {}
        for key in shared.intersection(id(parameter) for parameter, _ in found):
            self._takers.setdefault(key, optimizer)
        return [
            (parameter, index)
            for parameter, index in found
            if self._takers.get(id(parameter), optimizer) is optimizer
        ]

    def _sample_unowned(self, record: StepRecord) -> list[SampledRows]:
        is_due = self._n_samples % SEARCH_EVERY == 0
        if is_due or self._revision != self._catalogue.revision:
            self._catalogue.refresh()
            self._revision = self._catalogue.revision
            self._unowned.follow(
                [(parameter, 0) for parameter in self._catalogue.without_optimizer()]
            )
        self._n_samples += 1
        return self._unowned.differences(record.step, record.clip)


class SampledParameters:
    """The parameters of one optimizer, and the sample of them that is being made.

    Args:
        optimizer: Whose parameters they are; None where the loop itself updates them.
        catalogue: Their names.
        statistics: What is computed.

    Attributes:
        others: Rows that go with the sample, of parameters in no optimizer.
    """

    def __init__(
        self,
        optimizer: Optimizer | None,
        catalogue: Catalogue,
        statistics: Sequence[ParameterStatistic],
    ) -> None:
        self.others: list[SampledRows] = []
        self._optimizer = optimizer
        self._catalogue = catalogue
        self._statistics = statistics
        self._signature: list[object] = []
        self._blocks: list[ParameterBlock] = []
        self._unreadable: list[SampledRows] = []
        self._samples: list[BlockSample] = []
        self._step: int | None = None  # of the sample that has begun

    def follow(self, parameters: Sequence[tuple[Tensor, int]]) -> None:
        """Take these parameters and the indices of their groups: new blocks if they are others."""
        signature: list[object] = [
            (id(p), group, p.dtype, p.device, p.shape) for p, group in parameters
        ]
        signature.append(self._catalogue.revision)
        if signature == self._signature:
            return
        # Names and owners may have changed with the parameters.
        self._catalogue.refresh()
        signature[-1] = self._catalogue.revision
        named = [
            (parameter, entry, group)
            for parameter, group in parameters
            if (entry := self._catalogue.entry(parameter)) is not None
        ]
        self._blocks, unreadable = plan_blocks(named)
        self._unreadable = _rows_without_statistics(unreadable)
        self._signature = signature

    def begin(self, step: int, clip: ClipRecord | None) -> None:
        """Sample gradients and weights before the step.

        Args:
            step: Optimizer step.
            clip: The clippings of the gradients since the last step.
        """
        self._step, self.others = None, []
        scale = None if self._optimizer is None else loss_scale(self._optimizer)
        self._samples = [
            BlockSample(block, self._statistics, step=step, clip=clip, loss_scale=scale)
            for block in self._blocks
        ]
        self._step = step

    def end(self, step: int) -> ParameterPacket | None:
        """Sample updates and optimizer state after the step.

        Returns:
            The whole sample; None if it was not begun in this step, or there is no parameter.
        """
        begun, self._step = self._step, None
        if begun != step:
            return None
        samples, self._samples = self._samples, []
        for sample in samples:
            sample.observe_step(self._optimizer)
        groups = [*self._unreadable, *self.others]
        groups.extend(group for sample in samples for group in sample.rows)
        if not groups:
            return None
        norms = [sample.norm_parts() for sample in samples]
        unscaled = [part.unscaled for part in norms if part.unscaled is not None]
        sharded = [part.sharded for part in norms if part.sharded is not None]
        is_told = bool(unscaled) and len(unscaled) == len(norms)
        return ParameterPacket(
            step=step,
            groups=groups,
            grad_sumsq_total=_total([part.seen for part in norms]),
            grad_norm_unscaled=_total(unscaled).sqrt() if is_told else None,
            sharded_grad_sumsq=_total(sharded) if is_told and sharded else None,
            weight_checksum=_total([sample.checksum for sample in samples]),
        )

    def differences(self, step: int, clip: ClipRecord | None) -> list[SampledRows]:
        """Rows of gradients and weights now, and of updates since the last call."""
        rows = [*self._unreadable]
        for block in self._blocks:
            sample = BlockSample(block, self._statistics, step=step, clip=clip, loss_scale=None)
            sample.observe_difference()
            rows.extend(sample.rows)
        return rows


def _rows_without_statistics(
    unreadable: Sequence[tuple[Tensor, ParameterEntry]],
) -> list[SampledRows]:
    """Weight rows of parameters that cannot be read."""
    if not unreadable:
        return []
    nothing = np.zeros(len(unreadable), dtype=np.int64)
    none = np.zeros(len(unreadable), dtype=np.bool_)
    names = row_names(
        [entry for _, entry in unreadable],
        [n_real(local_part(parameter)) for parameter, _ in unreadable],
        is_sharded=[is_sharded(parameter) for parameter, _ in unreadable],
    )
    rows = RowGroup(
        kind=Kind.WEIGHT,
        names=names[Kind.WEIGHT],
        n_sampled=nothing,
        is_known=none,
        is_normed=none,
        has_gradient=none,
        is_written=~none,
    )
    return [(rows, {})]


def _total(parts: Sequence[Tensor]) -> Tensor:
    """Sum of 0-d tensors, on the device of the first."""
    if not parts:
        return torch.zeros((), dtype=torch.int64, device="cpu")
    if len(parts) == 1:
        return parts[0]
    return torch.stack([part.to(parts[0].device, non_blocking=True) for part in parts]).sum()
