"""One block of parameters at one step: what is read and computed before and after the step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from telemetry.capture.catalogue.optimizer_rules import implies_update, is_adam_type, is_plain_sgd
from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters import optimizer_state
from telemetry.capture.parameters.blocks import ParameterBlock
from telemetry.capture.parameters.gradient_scales import scales_of, unscaled_sumsq
from telemetry.capture.parameters.rows import RowGroup, SampledRows
from telemetry.capture.parameters.statistic import (
    OptimizerSettings,
    ParameterStatistic,
    Previous,
    Relations,
    Sample,
    run,
)
from telemetry.capture.parameters.whole_moments import whole_moments
from telemetry.capture.steps.provenance import ClipRecord
from telemetry.capture.tensors.norms import tensor_norms
from telemetry.capture.tensors.plain import nonzero_part, plain
from telemetry.capture.tensors.sample_plan import BoolArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NormParts:
    """Sums of squares of the gradients of one block, 0-d.

    Attributes:
        seen: As the optimizer saw them.
        unscaled: Without clipping and loss scale; None where norm or scale is not known.
        sharded: That part of `unscaled` which is added up over ranks; None where there is none.
    """

    seen: Tensor
    unscaled: Tensor | None = None
    sharded: Tensor | None = None


class BlockSample:
    """Gradients and weights of one block before a step, then its update and optimizer state.

    Args:
        block: The parameters.
        statistics: What is computed.
        step: Optimizer step.
        clip: The clippings of the gradients since the last step.
        loss_scale: Factor that the loss scaler left in all of them, 0-d.

    Attributes:
        rows: Those whose statistics are computed so far; first those of the gradients.
        checksum: Positional hash of the probed weights before the step, 0-d.
    """

    def __init__(
        self,
        block: ParameterBlock,
        statistics: Sequence[ParameterStatistic],
        *,
        step: int,
        clip: ClipRecord | None,
        loss_scale: Tensor | None,
    ) -> None:
        self.rows: list[SampledRows] = []
        self._block = block
        self._statistics = statistics
        self._step = step
        self._loss_scale = loss_scale
        self._scales = scales_of(block.parameters, clip, loss_scale)
        grads = [parameter.grad for parameter in block.parameters]
        self._has_gradient: BoolArray = np.array([grad is not None for grad in grads])
        self._gradient = self._sample_gradients(grads)
        weights = block.weights()
        relations = self._read_whole(block.whole(weights))
        rows = block.weight.read(weights)
        self.checksum = block.checksum(rows)
        self._weight = self._sample(Kind.WEIGHT, rows, relations)

    def observe_step(self, optimizer: Optimizer | None) -> None:
        """Read the weights and the optimizer's state after its step."""
        block = self._block
        settings = OptimizerSettings()
        second = first = None
        if optimizer is not None:
            states = optimizer_state.states_of(optimizer, block)
            settings = optimizer_state.settings_of(
                optimizer, block, states, loss_scale=self._loss_scale
            )
            second = self._sample_second_moment(
                optimizer, states, Relations(gradient=self._gradient, settings=settings)
            )
            first = self._first_moments(optimizer, states)
        rows = block.updates[0].read(block.weights()).sub_(self._weight.values)
        relations = Relations(
            previous=block.previous_update,
            weight=self._weight,
            gradient=self._gradient,
            second_moment=second,
            first_moment=first,
            settings=settings,
        )
        update = self._sample(Kind.UPDATE, rows, relations)
        block.previous_update = Previous(values=update.values, norms=update.norms)
        self._end()

    def observe_difference(self) -> None:
        """Tell what parameters of no optimizer did since their previous sample."""
        block = self._block
        current, former = self._weight.values, block.former_weight
        if former is None:
            block.former_weight = current.clone()
        else:
            rows = torch.sub(current, former, out=block.updates[0].rows)
            self._sample(Kind.UPDATE, rows, Relations())
            former.copy_(current)
        self._end()

    def norm_parts(self) -> NormParts:
        """Sums of squares of all gradients; NaN where an element is not finite."""
        _, partials = self.rows[0]
        sumsq = partials["tensor_norms"].square()
        for name in ("tensor_n_nan", "tensor_n_inf"):
            if name in partials:
                sumsq = sumsq.masked_fill(partials[name] > 0, torch.nan)
        if (self._has_gradient & ~self._is_normed).any():
            return NormParts(seen=sumsq.sum())
        unscaled = unscaled_sumsq(sumsq, self._scales)
        shares = self._block.shares
        if unscaled is None or shares is None:
            return NormParts(
                seen=sumsq.sum(), unscaled=None if unscaled is None else unscaled.sum()
            )
        sharded = unscaled * shares
        whole = torch.where(shares > 0, sharded, unscaled)
        return NormParts(seen=sumsq.sum(), unscaled=whole.sum(), sharded=sharded.sum())

    # --- samples ------------------------------------------------------------------------------

    def _sample_gradients(self, grads: Sequence[Tensor | None]) -> Sample:
        block = self._block
        readable = [None if grad is None else _plain_gradient(grad) for grad in grads]
        known = [
            nonzero_part(grad) if tensor is None and grad is not None else tensor
            for grad, tensor in zip(grads, readable, strict=True)
        ]
        self._is_normed = np.array([tensor is not None for tensor in known])
        # Before the sample is copied: reading in order brings the tensors into the cache, measured
        # 9 % of all that is done before a step.
        relations = self._read_whole(block.whole(known), previous=block.previous_gradient)
        return self._sample(
            Kind.GRADIENT,
            block.gradients[0].read(readable),
            relations,
            is_known=np.array([tensor is not None for tensor in readable]),
            is_normed=self._is_normed,
        )

    def _read_whole(self, tensors: list[Tensor], previous: Previous | None = None) -> Relations:
        """What is read of all elements of gradients or weights."""
        has_histograms = any("hist" in statistic.columns for statistic in self._statistics)
        moments = whole_moments(tensors, with_fields=has_histograms)
        norms = tensor_norms(tensors) if moments is None else moments.of("sumsq").sqrt()
        return Relations(
            tensors=tensors,
            row_shards=self._block.row_shards,
            tensor_norms=norms,
            moments=moments,
            previous=previous,
        )

    def _sample_second_moment(
        self,
        optimizer: Optimizer,
        states: Sequence[optimizer_state.State],
        relations: Relations,
    ) -> Sample | None:
        block = self._block
        if not is_adam_type(optimizer):
            return None
        moments = self._moments(states, optimizer_state.SECOND_MOMENTS)
        exists = np.array([moment is not None for moment in moments])
        if not exists.any():
            return None
        correction = optimizer_state.bias_correction(optimizer, block, states, beta=1)
        rows = block.moment(2).read(moments)
        rows.mul_(block.segments.spread(correction.reciprocal()))
        return self._sample(Kind.OPTIMIZER_STATE, rows, relations, is_written=exists)

    def _first_moments(
        self, optimizer: Optimizer, states: Sequence[optimizer_state.State]
    ) -> Tensor | None:
        """Mean past gradients, where the rounding of the update is judged by them."""
        if self._block.low_precision is None:
            return None
        if not implies_update(optimizer) and not is_plain_sgd(optimizer):
            return None
        moments = self._moments(states, optimizer_state.FIRST_MOMENTS)
        if all(moment is None for moment in moments):
            return None
        return self._block.moment(1).read(moments)

    def _moments(
        self, states: Sequence[optimizer_state.State], keys: Sequence[str]
    ) -> list[Tensor | None]:
        found: list[Tensor | None] = []
        for member, state in zip(self._block.members, states, strict=True):
            moment = optimizer_state.state_tensor(state, keys)
            tensor = None if moment is None else plain(moment)
            fits = tensor is not None and tensor.shape == member.plan.shape
            found.append(tensor if fits else None)
        return found

    def _sample(
        self,
        kind: Kind,
        values: Tensor,
        relations: Relations,
        *,
        is_known: BoolArray | None = None,
        is_normed: BoolArray | None = None,
        is_written: BoolArray | None = None,
    ) -> Sample:
        """A sample whose statistics are computed and added to the rows."""
        block = self._block
        sample = Sample(
            kind=kind,
            step=self._step,
            segments=block.segments,
            values=values,
            workspace=block.workspace,
            relations=relations,
        )
        statistics, partials = run(self._statistics, sample)
        names = block.names[kind]
        n_sampled = block.n_sampled if relations.moments is None else names.n
        every = np.ones(len(block.members), dtype=np.bool_)
        is_read = self._has_gradient if kind == Kind.GRADIENT else every
        group = RowGroup(
            kind=kind,
            names=names,
            n_sampled=np.where(is_read, n_sampled, 0),
            is_known=every if is_known is None else is_known,
            is_normed=every if is_normed is None else is_normed,
            has_gradient=self._has_gradient,
            is_written=every if is_written is None else is_written,
            scales=self._scales if kind == Kind.GRADIENT else None,
            statistics=statistics,
            layout=block.segments.layout,
        )
        self.rows.append((group, partials))
        return sample

    def _end(self) -> None:
        """The samples of this step become those before the next."""
        block = self._block
        block.previous_gradient = Previous(values=self._gradient.values, norms=self._gradient.norms)
        block.swap()


def _plain_gradient(grad: Tensor) -> Tensor | None:
    if type(grad) is Tensor and grad.layout is torch.strided and not grad.is_complex():
        return grad
    return plain(grad)
