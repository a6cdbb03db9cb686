"""Gradients, weights, updates and optimizer state at the boundary of an optimizer's step."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from telemetry.capture.catalogue.catalogue import Catalogue, ParameterEntry
from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.buffers import SampledBlock, plan_blocks, row_names
from telemetry.capture.parameters.gradient_scales import scales_of
from telemetry.capture.parameters.packet import ParameterPacket
from telemetry.capture.parameters.rows import GroupResults, RowGroup
from telemetry.capture.parameters.sampling import BlockSample
from telemetry.capture.parameters.statistic import ParameterStatistic, parameter_statistics
from telemetry.capture.steps.provenance import ClipRecord, loss_scale
from telemetry.capture.tensors.plain import is_sharded, local_part, n_real

# Samples between two searches of the model for parameters that are in no optimizer.
SEARCH_EVERY = 16


class ParameterObserver:
    """Reads the parameters of each optimizer before and after its step, on sampled steps.

    Nothing of training is written to or kept; no random number is drawn; no device is waited for.
    The first optimizer's sample also holds the trainable parameters that are in no optimizer: their
    update is the difference to their previous sample.

    Args:
        catalogue: Names of the parameters.
        histograms: Whether log2 histograms are recorded.
    """

    def __init__(self, catalogue: Catalogue, *, histograms: bool) -> None:
        self._catalogue = catalogue
        self._statistics = tuple(
            statistic
            for statistic in parameter_statistics()
            if histograms or "hist" not in statistic.columns
        )
        self._owned: dict[Optimizer | None, _Parameters] = {}
        self._unowned = _Parameters()
        self._seen_step = -1
        self._seen: set[int] = set()
        self._n_samples = 0
        self._revision = -1
        self._open: _OpenSample | None = None

    def before(self, optimizer: Optimizer | None, step: int, clip: ClipRecord | None) -> None:
        """Sample gradients and weights; to be called by the optimizer's step pre-hook.

        Args:
            optimizer: About to step; None where the loop updates the weights by itself.
            step: Optimizer step.
            clip: The clippings of its gradients since its last step.
        """
        self._open = None
        with torch.no_grad():
            owned = self._owned.setdefault(optimizer, _Parameters())
            owned.follow(self._stepping(optimizer, step), self._catalogue)
            self._open = _OpenSample(
                optimizer, step, clip=clip, parameters=owned, statistics=self._statistics
            )
            if optimizer is not None and optimizer is self._catalogue.optimizers[0]:
                self._open.unowned = self._sample_unowned(step, clip)

    def after(self, optimizer: Optimizer | None, step: int) -> ParameterPacket | None:
        """Sample updates and optimizer state; to be called by the optimizer's step post-hook.

        Returns:
            The whole sample; None if `before` was not called for this step, or nothing was read.
        """
        opened, self._open = self._open, None
        if opened is None or opened.optimizer is not optimizer or opened.step != step:
            return None
        with torch.no_grad():
            return opened.finished()

    def _stepping(self, optimizer: Optimizer | None, step: int) -> list[tuple[Tensor, int]]:
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
        if self._seen_step != step:
            self._seen_step, self._seen = step, set()
        found = [
            (parameter, index) for parameter, index in found if id(parameter) not in self._seen
        ]
        self._seen |= shared.intersection(id(parameter) for parameter, _ in found)
        return found

    def _sample_unowned(self, step: int, clip: ClipRecord | None) -> list[GroupResults]:
        is_due = self._n_samples % SEARCH_EVERY == 0
        if is_due or self._revision != self._catalogue.revision:
            self._catalogue.refresh()
            self._revision = self._catalogue.revision
            found = [(parameter, 0) for parameter in self._catalogue.without_optimizer()]
            self._unowned.follow(found, self._catalogue)
        self._n_samples += 1
        results = self._unowned.unreadable_rows()
        for block in self._unowned.blocks:
            scales = scales_of(block.parameters, clip, None)
            sample = BlockSample(block, self._statistics, step=step, scales=scales)
            sample.observe_difference()
            results.extend(sample.results)
        return results


class _Parameters:
    """The blocks of some parameters, made anew when the parameters change."""

    def __init__(self) -> None:
        self.blocks: list[SampledBlock] = []
        self._unreadable: list[tuple[Tensor, ParameterEntry]] = []
        self._signature: list[object] = []

    def follow(self, parameters: Sequence[tuple[Tensor, int]], catalogue: Catalogue) -> None:
        """Take these parameters and the indices of their groups."""
        signature: list[object] = [
            (id(p), group, p.dtype, p.device, p.shape) for p, group in parameters
        ]
        signature.append(catalogue.revision)
        if signature == self._signature:
            return
        # Names and owners may have changed with the parameters.
        catalogue.refresh()
        signature[-1] = catalogue.revision
        named = [
            (parameter, entry, group)
            for parameter, group in parameters
            if (entry := catalogue.entry(parameter)) is not None
        ]
        self.blocks, self._unreadable = plan_blocks(named)
        self._signature = signature

    def unreadable_rows(self) -> list[GroupResults]:
        """Weight rows without statistics, for parameters that cannot be read."""
        if not self._unreadable:
            return []
        entries = [entry for _, entry in self._unreadable]
        nothing = np.zeros(len(entries), dtype=np.int64)
        none = np.zeros(len(entries), dtype=np.bool_)
        parameters = [parameter for parameter, _ in self._unreadable]
        names = row_names(
            entries,
            [n_real(local_part(parameter)) for parameter in parameters],
            is_sharded=list(map(is_sharded, parameters)),
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
        return [GroupResults(rows=rows, statistics=(), partials={}, layout=None)]


class _OpenSample:
    """A sample between the hooks before and after one step of an optimizer."""

    def __init__(
        self,
        optimizer: Optimizer | None,
        step: int,
        *,
        clip: ClipRecord | None,
        parameters: _Parameters,
        statistics: Sequence[ParameterStatistic],
    ) -> None:
        self.optimizer = optimizer
        self.step = step
        self.unowned: list[GroupResults] = []
        self._loss_scale = None if optimizer is None else loss_scale(optimizer)
        self._unreadable = parameters.unreadable_rows()
        self._samples = [
            BlockSample(
                block,
                statistics,
                step=step,
                scales=scales_of(block.parameters, clip, self._loss_scale),
            )
            for block in parameters.blocks
        ]

    def finished(self) -> ParameterPacket | None:
        """The packet of the sample, after the step; None if there is no parameter at all."""
        for sample in self._samples:
            sample.observe_step(self.optimizer, self._loss_scale)
        groups = [*self._unreadable, *self.unowned]
        groups.extend(group for sample in self._samples for group in sample.results)
        if not groups:
            return None
        norms = [sample.norm_parts() for sample in self._samples]
        unscaled = [part.unscaled for part in norms if part.unscaled is not None]
        sharded = [part.sharded for part in norms if part.sharded is not None]
        is_told = bool(unscaled) and len(unscaled) == len(norms)
        return ParameterPacket(
            step=self.step,
            groups=groups,
            grad_sumsq_total=_total([part.seen for part in norms]),
            grad_norm_unscaled=_total(unscaled).sqrt() if is_told else None,
            sharded_grad_sumsq=_total(sharded) if is_told and sharded else None,
            weight_checksum=_total([sample.checksum for sample in self._samples]),
        )


def _total(parts: Sequence[Tensor]) -> Tensor:
    """Sum of 0-d tensors, on the device of the first."""
    if not parts:
        return torch.zeros((), dtype=torch.int64, device="cpu")
    if len(parts) == 1:
        return parts[0]
    return torch.stack([part.to(parts[0].device, non_blocking=True) for part in parts]).sum()
