"""What a recorded quantity is, and how the files of `statistics/` are found.

Each file of `statistics/` computes one quantity. One of parameters defines STATISTIC, a
`ParameterStatistic` whose id is the file's name. It is two pure functions: on the training thread,
from the samples of one kind, which lie in one flat buffer, to partial results on the device, mostly
one value for each row of the buffer; on the writer thread, from these to one value per tensor and
column of `tensor_stats`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters import statistics
from telemetry.capture.parameters.whole_moments import WholeMoments
from telemetry.capture.tensors.host import is_known_finite, on_host
from telemetry.capture.tensors.sample_plan import (
    ROW_LENGTH,
    AnyFloatArray,
    FloatArray,
    RowLayout,
    Segments,
)

ColumnValues: TypeAlias = "FloatArray | list[bytes | None]"
# Partial results by name. Statistics share what they name alike.
Partials: TypeAlias = dict[str, Tensor]
HostPartials: TypeAlias = Mapping[str, AnyFloatArray]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workspace:
    """Scratch memory of one device, shape (n_rows, 1024) each; holds nothing between two calls."""

    first: Tensor
    integers: Tensor  # as wide as `first`, for operations on bit patterns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OptimizerSettings:
    """What the optimizer's rule used in this step, per tensor, float32, shape (n_tensors,).

    Attributes:
        decoupled_decay: lr x weight decay where the weight is shrunk apart from the gradient.
        coupled_decay: Weight decay where decay x weight is added to the gradient.
        lr: Learning rate.
        epsilon: Added to the root of the second moment.
        first_correction: 1 - beta1^t.
        low_precision: Whether the weight is float16 or bfloat16, bool.
        is_plain_sgd: Whether the update of such weights is SGD's, without Nesterov's momentum.
        loss_scale: Factor still in the gradient (fused optimizer under a GradScaler), 0-d.
    """

    decoupled_decay: Tensor | None = None
    coupled_decay: Tensor | None = None
    lr: Tensor | None = None
    epsilon: Tensor | None = None
    first_correction: Tensor | None = None
    low_precision: Tensor | None = None
    is_plain_sgd: bool = False
    loss_scale: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Previous:
    """The sample before: its finite values and the norms of their rows."""

    values: Tensor
    norms: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relations:
    """What a sample relates to; each is None where it is not there.

    Attributes:
        tensors: The whole tensors of gradients and weights, a 0-d zero where there is none.
        row_shards: Which of them are this rank's rows of a matrix that several ranks hold.
        tensor_norms: Their L2 norms, see `tensor_norms`.
        moments: What a kernel says of all their elements.
        previous: The same kind one sample ago.
        weight: Sample of the weights before the step.
        gradient: Sample of the gradients as the optimizer saw them.
        first_moment: Mean past gradients of Adam, momentum of SGD, laid out as the sample; whoever
            needs it may write to it.
        second_moment: Sample of the bias-corrected second moments.
        settings: What the optimizer's rule used.
    """

    tensors: Sequence[Tensor] = ()
    row_shards: Sequence[bool] = ()
    tensor_norms: Tensor | None = None
    moments: WholeMoments | None = None
    previous: Previous | None = None
    weight: "Sample | None" = None
    gradient: "Sample | None" = None
    first_moment: Tensor | None = None
    second_moment: "Sample | None" = None
    settings: OptimizerSettings = OptimizerSettings()


class Sample:
    """The sampled elements of some tensors of one kind at one step, and what relates to them.

    Args:
        kind: What the tensors are.
        step: Optimizer step.
        segments: Where each tensor lies in `values`.
        values: Buffer owned by the caller, shape (n_rows, 1024), float32 (float64 for float64
            parameters). Non-finite elements are counted and then replaced by zero in place.
        workspace: Scratch of the same device and dtype.
        relations: Read while statistics run, then dropped.

    Attributes:
        sums: Sums of the finite values of each row, shape (n_rows,).
        finite: Which elements are finite and no padding; None where all are finite.
        non_finite: Row counts `n_nan` and `n_inf`; empty where all are finite.
    """

    def __init__(
        self,
        *,
        kind: Kind,
        step: int,
        segments: Segments,
        values: Tensor,
        workspace: Workspace,
        relations: Relations,
    ) -> None:
        self.kind = kind
        self.step = step
        self.segments = segments
        self.values = values
        self.workspace = workspace
        self.relations = relations
        self.sums = values.sum(1)
        self.finite: Tensor | None = None
        self.non_finite: Partials = {}
        if not is_known_finite(self.sums):
            self._set_aside_non_finite()

    @cached_property
    def zeros(self) -> Tensor:
        """Zeros of each row, padding and replaced elements included, shape (n_rows,)."""
        return torch.eq(self.values, 0, out=self.workspace.first).sum(1)

    @cached_property
    def norms(self) -> Tensor:
        """L2 norm of the finite values of each row; elements below 1e-19 vanish in it."""
        norms: Tensor = torch.linalg.vector_norm(self.values, dim=1)
        return norms

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest finite element of each row, (inf, -inf) where there is none."""
        if self.finite is None:
            low, high = self.values.amin(1), self.values.amax(1)
            self._leave_out_padding(low, high)
            return low, high
        low = torch.where(self.finite, self.values, torch.inf).amin(1)
        return low, torch.where(self.finite, self.values, -torch.inf).amax(1)

    def dots(self, other: Tensor) -> Tensor:
        """Inner product of each row with that of a buffer of the same layout, shape (n_rows,)."""
        if on_host(other):
            # Product and sum in one pass, measured 1.5 times as fast as the two.
            dots = np.einsum("ij,ij->i", self.values.numpy(), other.numpy())
            return torch.from_numpy(dots)
        return torch.mul(self.values, other, out=self.workspace.first).sum(1)

    def _leave_out_padding(self, low: Tensor, high: Tensor) -> None:
        """Correct the bounds of rows that end in padding, which is zero."""
        segments = self.segments
        rows, padding = segments.tail_rows, segments.tail_padding
        if not len(rows):
            return
        if on_host(low):
            # Only of those that have elements of one sign, and by numpy: its calls are shorter.
            tails, values = segments.layout.tail_rows, self.values.numpy()
            for bounds, beyond, reduce in (
                (low.numpy(), np.inf, np.minimum.reduce),
                (high.numpy(), -np.inf, np.maximum.reduce),
            ):
                is_doubtful = bounds[tails] == 0
                if is_doubtful.any():
                    doubtful = tails[is_doubtful]
                    tail = values[doubtful]
                    np.copyto(tail, beyond, where=padding.numpy()[is_doubtful])
                    bounds[doubtful] = reduce(tail, axis=1)
            return
        tail = self.values.index_select(0, rows)
        low.index_copy_(0, rows, tail.masked_fill(padding, torch.inf).amin(1))
        high.index_copy_(0, rows, tail.masked_fill_(padding, -torch.inf).amax(1))

    def _set_aside_non_finite(self) -> None:
        self.non_finite = {
            "n_nan": torch.isnan(self.values).sum(1, dtype=torch.float32),
            "n_inf": torch.isinf(self.values).sum(1, dtype=torch.float32),
        }
        self.finite = torch.isfinite(self.values).logical_and_(~self.segments.padding)
        self.values.masked_fill_(~self.finite, 0.0)
        self.sums = self.values.sum(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterStatistic:
    """One recorded quantity of parameters, gradients, updates or optimizer state.

    Attributes:
        id: Name of its file.
        kinds: The kinds of rows it is computed for.
        columns: Columns of `tensor_stats` that it fills.
        part_columns: Those of them by which ranks are merged: NULL unless the tensor is sharded.
        compute: Runs on the training thread and waits for no device: partial results on the
            device; None when what it needs is not there.
        finish: Runs on the writer thread: a column of shape (n_tensors,) for each of `columns`,
            NaN or None for NULL.
        needs_gradient: NULL for parameters whose gradient is None.
        is_of_whole: Computed from the whole tensor, not from its sample.
    """

    id: str
    kinds: frozenset[Kind]
    columns: tuple[str, ...]
    compute: Callable[[Sample], Partials | None]
    finish: Callable[[HostPartials, RowLayout], tuple[ColumnValues, ...]]
    part_columns: frozenset[str] = frozenset()
    needs_gradient: bool = False
    is_of_whole: bool = False


@cache
def parameter_statistics() -> tuple[ParameterStatistic, ...]:
    """STATISTIC of every file of `statistics/` that fills columns of `tensor_stats`, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(statistics.__path__))
    modules = [importlib.import_module(f"{statistics.__name__}.{name}") for name in names]
    found = [getattr(module, "STATISTIC", None) for module in modules]
    return tuple(entry for entry in found if isinstance(entry, ParameterStatistic))


def run(
    statistics: Sequence[ParameterStatistic], sample: Sample
) -> tuple[list[ParameterStatistic], Partials]:
    """The statistics of a sample's kind that have something to say, and all partial results.

    The sample then lets go of the tensors of training and of older samples.
    """
    done: list[ParameterStatistic] = []
    partials: Partials = {}
    for statistic in statistics:
        if sample.kind in statistic.kinds:
            result = statistic.compute(sample)
            if result is not None:
                done.append(statistic)
                partials.update(result)
    sample.relations = Relations()
    return done, partials


def n_valid(partials: HostPartials, layout: RowLayout) -> FloatArray:
    """Finite elements that were read of each tensor, shape (n_tensors,)."""
    n_finite = layout.sizes.astype(np.float64)
    for name in ("n_nan", "n_inf"):
        if name in partials:
            n_finite -= layout.total(partials[name])
    return n_finite


def n_zero(partials: HostPartials, layout: RowLayout) -> FloatArray:
    """Exact zeros of each tensor, from `zeros`, shape (n_tensors,)."""
    n_places = layout.n_rows_each * ROW_LENGTH
    return layout.total(partials["zeros"]) - (n_places - n_valid(partials, layout))


def sum_of_squares(norms: AnyFloatArray, layout: RowLayout) -> FloatArray:
    """Squared norm of each tensor from the norms of its rows, in float64."""
    return layout.total(norms.astype(np.float64) ** 2)
