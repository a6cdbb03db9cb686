"""What a recorded quantity is, and how the files of `statistics/` are found.

Each file of `statistics/` computes one quantity. One of parameters defines STATISTIC, a
`ParameterStatistic` whose id is the file's name: a pure function from the samples of one kind,
which lie in one flat buffer, to one value per tensor and column of `tensor_stats`.
"""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache, cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from telemetry.capture import statistics
from telemetry.capture.sample_plan import Segments

FloatArray: TypeAlias = npt.NDArray[np.float64]
ResultArray: TypeAlias = "npt.NDArray[np.float32] | FloatArray | npt.NDArray[np.int32]"
ColumnValues: TypeAlias = "FloatArray | list[bytes | None]"


class Kind(StrEnum):
    """What a row of `tensor_stats` describes."""

    WEIGHT = "weight"
    GRADIENT = "gradient"
    UPDATE = "update"
    OPTIMIZER_STATE = "optimizer_state"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workspace:
    """Scratch memory of one device, shape (n_rows, 256) each; holds nothing between two calls."""

    first: Tensor
    second: Tensor
    integers: Tensor  # as wide as `first`, for operations on bit patterns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OptimizerSettings:
    """What the optimizer's rule used in this step, per tensor, float32, shape (n_segments,).

    Attributes:
        decoupled_decay: lr x weight decay where the weight is shrunk apart from the gradient.
        coupled_decay: Weight decay where decay x weight is added to the gradient.
        lr: Learning rate.
        epsilon: Added to the root of the second moment.
        first_correction: 1 - beta1^t.
        low_precision: Whether the weight is float16 or bfloat16, bool.
        loss_scale: Factor still in the gradient (fused optimizer under a GradScaler), 0-d.
    """

    decoupled_decay: Tensor | None = None
    coupled_decay: Tensor | None = None
    lr: Tensor | None = None
    epsilon: Tensor | None = None
    first_correction: Tensor | None = None
    low_precision: Tensor | None = None
    loss_scale: Tensor | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Previous:
    """The sample before: its finite values and their squared norms."""

    values: Tensor
    sumsq: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Relations:
    """What a sample relates to; each is None where it is not there.

    Attributes:
        tensors: The whole tensors of gradients and weights, a 0-d zero where there is none.
        previous: The same kind one sample ago.
        weight: Sample of the weights before the step.
        gradient: Sample of the gradients as the optimizer saw them.
        first_moment: Mean past gradients of Adam-type optimizers, laid out as the sample.
        second_moment: Sample of the bias-corrected second moments.
        settings: What the optimizer's rule used.
    """

    tensors: Sequence[Tensor] = ()
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
        values: Buffer owned by the caller, shape (n_rows, 256), float32 (float64 for float64
            parameters). Non-finite elements are counted and then replaced by zero in place.
        workspace: Scratch of the same device and dtype.
        relations: Read while statistics run, then dropped by `release`.

    Attributes:
        finite: Which elements are finite and no padding; None where all are finite.
        n_nan: NaN elements, shape (n_segments,); None where all are finite.
        n_inf: Infinite elements, the same.
        row_sums: Sums of the finite values of each row, shape (n_rows,).
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
        self.row_sums = values.sum(1)
        self.n_nan: Tensor | None = None
        self.n_inf: Tensor | None = None
        self.finite: Tensor | None = None
        if not known_finite(self.row_sums):
            self._set_aside_non_finite()

    def release(self) -> None:
        """Let go of the tensors of training and of older samples."""
        self.relations = Relations()

    @cached_property
    def n_zero_with_padding(self) -> Tensor:
        """Zeros of the buffer, padding and replaced elements included, shape (n_segments,)."""
        zeros = torch.eq(self.values, 0, out=self.workspace.first)
        return self.segments.total(zeros.sum(1))

    @cached_property
    def n_invalid(self) -> Tensor:
        """Elements of the buffer that are padding or not finite, shape (n_segments,)."""
        if self.n_nan is None or self.n_inf is None:
            return self.segments.n_padding
        return self.segments.n_padding + self.n_nan + self.n_inf

    @cached_property
    def sumsq(self) -> Tensor:
        """Sum of squares of the finite values, float64, shape (n_segments,).

        Elements below 1e-19 vanish in it: their squares are no float32.
        """
        norms = torch.linalg.vector_norm(self.values, dim=1)
        return self.segments.total(wide(norms).square_())

    @cached_property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest finite value; (inf, -inf) where there is none."""
        if self.finite is not None:
            low = torch.where(self.finite, self.values, torch.inf).amin(1)
            high = torch.where(self.finite, self.values, -torch.inf).amax(1)
        else:
            low, high = self.values.amin(1), self.values.amax(1)
            if self.segments.tail_rows is not None:
                tails = self.values.index_select(0, self.segments.tail_rows)
                tails.masked_fill_(self.segments.tail_padding, torch.inf)
                low.index_copy_(0, self.segments.tail_rows, tails.amin(1))
                tails.masked_fill_(self.segments.tail_padding, -torch.inf)
                high.index_copy_(0, self.segments.tail_rows, tails.amax(1))
        return self.segments.smallest(low), self.segments.largest(high)

    def dot(self, other: Tensor) -> Tensor:
        """Inner product of the values with a buffer of the same layout, float64."""
        product = torch.mul(self.values, other, out=self.workspace.first)
        return self.segments.total(wide(product.sum(1)))

    def _set_aside_non_finite(self) -> None:
        total = self.segments.total
        self.n_nan = total(torch.isnan(self.values).sum(1, dtype=torch.float32))
        self.n_inf = total(torch.isinf(self.values).sum(1, dtype=torch.float32))
        self.finite = torch.isfinite(self.values).logical_and_(~self.segments.padding)
        self.values.masked_fill_(~self.finite, 0.0)
        self.row_sums = self.values.sum(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterStatistic:
    """One recorded quantity of parameters, gradients, updates or optimizer state.

    Attributes:
        id: Name of its file.
        kinds: The kinds of rows it is computed for.
        columns: Columns of `tensor_stats` that it fills.
        compute: Runs on the training thread and waits for no device: values of shape
            (len(columns), n_segments), NaN for NULL, or whatever `finish` understands; None when
            what it needs is not there.
        finish: Runs on the writer thread: columns of shape (n_segments,) from what `compute` gave;
            None: each row of the result is a column.
        needs_gradient: NULL for parameters whose gradient is None.
    """

    id: str
    kinds: frozenset[Kind]
    columns: tuple[str, ...]
    compute: Callable[[Sample], Tensor | None]
    finish: Callable[[ResultArray], tuple[ColumnValues, ...]] | None = None
    needs_gradient: bool = False

    def column_values(self, result: ResultArray) -> tuple[ColumnValues, ...]:
        """The columns, in order, with NaN or None for NULL."""
        if self.finish is not None:
            return self.finish(result)
        return tuple(row.astype(np.float64) for row in result)


@cache
def parameter_statistics() -> tuple[ParameterStatistic, ...]:
    """STATISTIC of every file of `statistics/` that fills columns of `tensor_stats`, by name."""
    names = sorted(module.name for module in pkgutil.iter_modules(statistics.__path__))
    modules = [importlib.import_module(f"{statistics.__name__}.{name}") for name in names]
    found = [getattr(module, "STATISTIC", None) for module in modules]
    return tuple(entry for entry in found if isinstance(entry, ParameterStatistic))


def run(
    statistics: Sequence[ParameterStatistic], sample: Sample
) -> list[tuple[ParameterStatistic, Tensor]]:
    """The statistics of a sample's kind with their results, those that have one."""
    results = [
        (statistic, statistic.compute(sample))
        for statistic in statistics
        if sample.kind in statistic.kinds
    ]
    return [(statistic, result) for statistic, result in results if result is not None]


def known_finite(row_sums: Tensor) -> bool:
    """Whether the host can tell at once that no element is NaN or infinite.

    An accelerator is not asked, for that would wait for it; a sum of finite values that overflows
    only leads to the longer way.
    """
    return row_sums.device.type == "cpu" and bool(np.isfinite(row_sums.numpy()).all())


def wide(values: Tensor) -> Tensor:
    """The values in float64, or as they are where the device has none."""
    return values if values.device.type == "mps" else values.double()
