"""Which elements of a tensor are read on a sampled step, and where they lie in one flat buffer.

A tensor of up to 65,536 elements is read whole. A larger one gives 1,024 blocks of 64 elements
spread evenly over it as a strided view: no random numbers, no gather, the same elements each time,
so that updates and cosines compare like with like.

In the buffer every tensor begins a new row of 256 elements; its last row is padded with zeros.
Reductions run over rows first, where they are vectorised, then over the rows of each tensor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

WHOLE_LIMIT = 65_536  # elements; 256 KiB in float32
BLOCK_LENGTH = 64  # elements: one to two cache lines more than a gather would touch, vectorised
N_BLOCKS = WHOLE_LIMIT // BLOCK_LENGTH
ROW_LENGTH = 256  # measured: rows of 64 reduce 2.5 times slower, rows of 1,024 pad biases too much


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPlan:
    """The elements of one tensor that are read; `spacing` is None where all are.

    `spacing` counts elements of memory between block starts and holds for tensors of `stride`.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    spacing: int | None

    @property
    def n(self) -> int:
        """Elements of the tensor."""
        return math.prod(self.shape)

    @property
    def n_sampled(self) -> int:
        """Elements that are read."""
        return self.n if self.spacing is None else WHOLE_LIMIT

    @property
    def view_shape(self) -> tuple[int, ...]:
        """Shape of what `sampled` returns."""
        return self.shape if self.spacing is None else (N_BLOCKS, BLOCK_LENGTH)


def plan_tensor(tensor: Tensor) -> TensorPlan:
    """The plan of a plain (strided, real) tensor; depends on its shape and strides alone."""
    shape, stride = tuple(tensor.shape), tuple(tensor.stride())
    if not is_dense(shape, stride):
        stride = tuple(torch.empty(shape, device="meta").stride())
    n = math.prod(shape)
    return TensorPlan(
        shape=shape, stride=stride, spacing=block_spacing(n) if n > WHOLE_LIMIT else None
    )


def block_spacing(n: int) -> int:
    """Elements between the starts of blocks: the widest that fits and shares no factor with n.

    A spacing that shares factors with the row length would visit the same few columns only: 576
    in a matrix of 768 columns never reads two thirds of them.
    """
    widest = (n - BLOCK_LENGTH) // (N_BLOCKS - 1)
    for spacing in range(widest, BLOCK_LENGTH - 1, -1):
        if math.gcd(spacing, n) == 1:
            return spacing
    return widest


def is_dense(shape: Sequence[int], stride: Sequence[int]) -> bool:
    """Whether the elements fill one piece of memory without gap or overlap, in any dim order."""
    expected = 1
    for step, size in sorted(zip(stride, shape, strict=True)):
        if size == 1:
            continue
        if step != expected:
            return False
        expected *= size
    return True


def sampled(plan: TensorPlan, tensor: Tensor) -> Tensor:
    """The planned elements of a tensor of the plan's shape, a view unless its strides differ."""
    if plan.spacing is None:
        return tensor
    if tensor.stride() != plan.stride:
        same = torch.empty_strided(
            plan.shape, plan.stride, dtype=tensor.dtype, device=tensor.device
        )
        tensor = same.copy_(tensor)
    size = (N_BLOCKS, BLOCK_LENGTH)
    return tensor.as_strided(size, (plan.spacing, 1), tensor.storage_offset())


class Segments:
    """The layout of some tensors' samples in a buffer of shape (n_rows, 256) on one device.

    Per-tensor results have shape (n_segments,) in the order of `plans`.
    """

    def __init__(self, plans: Sequence[TensorPlan], *, device: torch.device) -> None:
        self.plans = tuple(plans)
        self.device = device
        sizes = np.array([plan.n_sampled for plan in plans], dtype=np.int64)
        rows = -(-sizes // ROW_LENGTH)
        self.n_rows = int(rows.sum())
        self.first_rows: npt.NDArray[np.int64] = np.cumsum(rows) - rows
        self.row_lengths = self.move(torch.from_numpy(rows))
        self.n_elements = self.move(torch.from_numpy(sizes.astype(np.float32)))
        self.n_padding = self.move(torch.from_numpy((rows * ROW_LENGTH - sizes).astype(np.float32)))
        self.row_segment = self.move(torch.from_numpy(np.repeat(np.arange(len(plans)), rows)))
        partial = np.flatnonzero(sizes % ROW_LENGTH)
        columns = np.arange(ROW_LENGTH)
        # None where every row is full: nothing has to be masked then.
        self.tail_rows: Tensor | None = None
        if len(partial):
            self.tail_rows = self.move(torch.from_numpy((self.first_rows + rows - 1)[partial]))
            kept = columns < (sizes % ROW_LENGTH)[partial, None]
            self.tail_padding = self.move(torch.from_numpy(~kept))

    def __len__(self) -> int:
        return len(self.plans)

    def move(self, tensor: Tensor) -> Tensor:
        """The same values on the device of the segments, without waiting for it."""
        return tensor.to(self.device, non_blocking=True)

    @cached_property
    def padding(self) -> Tensor:
        """Which elements of the buffer belong to no tensor, bool, shape (n_rows, 256)."""
        result = torch.zeros((self.n_rows, ROW_LENGTH), dtype=torch.bool, device=self.device)
        if self.tail_rows is not None:
            result.index_copy_(0, self.tail_rows, self.tail_padding)
        return result

    def buffer(self, dtype: torch.dtype) -> Tensor:
        """A zeroed buffer, shape (n_rows, 256); its padding stays zero."""
        return torch.zeros((self.n_rows, ROW_LENGTH), dtype=dtype, device=self.device)

    def places(self, buffer: Tensor) -> list[Tensor]:
        """Views of the buffer that the samples are copied to, one per tensor."""
        flat = buffer.view(-1)
        starts = [int(row) * ROW_LENGTH for row in self.first_rows]
        return [
            flat[start : start + plan.n_sampled].view(plan.view_shape)
            for start, plan in zip(starts, self.plans, strict=True)
        ]

    def total(self, rows: Tensor) -> Tensor:
        """Sums over the rows of each tensor: shape (n_rows,) to (n_segments,)."""
        return torch.segment_reduce(rows, "sum", lengths=self.row_lengths, unsafe=True)

    def smallest(self, rows: Tensor) -> Tensor:
        """Minima over the rows of each tensor."""
        return torch.segment_reduce(rows, "min", lengths=self.row_lengths, unsafe=True)

    def largest(self, rows: Tensor) -> Tensor:
        """Maxima over the rows of each tensor."""
        return torch.segment_reduce(rows, "max", lengths=self.row_lengths, unsafe=True)

    def spread(self, values: Tensor) -> Tensor:
        """One value per tensor repeated for its rows: shape (n_segments,) to (n_rows, 1)."""
        return values.index_select(0, self.row_segment).unsqueeze(1)
