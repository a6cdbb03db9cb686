"""Which elements of a tensor are read on a sampled step, and where they lie in one flat buffer.

A tensor of up to 65,536 elements is read whole. A larger one gives 1,024 blocks of 64 elements
spread evenly over it as a strided view: no random numbers, no gather, the same elements each time,
so that updates and cosines compare like with like. Where that would be more than a quarter of a
million elements and more than 1/32 of all, each tensor gives less, so that a sample costs a few
readings of the parameters however they are cut into tensors.

In the buffer every tensor begins a new row of 1,024 elements; its last row is padded with zeros.
The device reduces rows, in few operations whatever the number of tensors; the writer thread reduces
the rows of each tensor.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

WHOLE_LIMIT = 65_536  # elements; 256 KiB in float32
N_FIELDS = 512  # sign and exponent of a float32
BLOCK_LENGTH = 64  # elements: one to two cache lines more than a gather would touch, vectorised
MODEL_LIMIT = 1 << 18  # elements of all tensors together, where 1/32 of them is less
MODEL_SHARE = 32
ROW_LENGTH = 1_024  # measured: rows of 64 reduce 2.5 times slower; longer ones pad biases too much

BoolArray: TypeAlias = npt.NDArray[np.bool_]
IntArray: TypeAlias = npt.NDArray[np.int64]
FloatArray: TypeAlias = npt.NDArray[np.float64]
AnyFloatArray: TypeAlias = "npt.NDArray[np.float32] | FloatArray"


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorPlan:
    """The elements of one tensor that are read; `spacing` is None where all are.

    `spacing` counts elements of memory between block starts and holds for tensors of `stride`;
    `limit` is how many elements are read at most.
    """

    shape: tuple[int, ...]
    stride: tuple[int, ...]
    spacing: int | None
    limit: int = WHOLE_LIMIT

    @property
    def n(self) -> int:
        """Elements of the tensor."""
        return math.prod(self.shape)

    @property
    def n_sampled(self) -> int:
        """Elements that are read."""
        return self.n if self.spacing is None else self.limit

    @property
    def view_shape(self) -> tuple[int, ...]:
        """Shape of what `sampled` returns."""
        if self.spacing is None:
            return self.shape
        return (self.limit // BLOCK_LENGTH, BLOCK_LENGTH)


def limit_of(sizes: Sequence[int]) -> int:
    """Elements that tensors of these sizes give at most each: 65,536, or fewer of many tensors."""
    most = max(MODEL_LIMIT, sum(sizes) // MODEL_SHARE)
    limit = WHOLE_LIMIT
    while limit > ROW_LENGTH and sum(min(size, limit) for size in sizes) > most:
        limit //= 2
    return limit


def plan_tensor(tensor: Tensor, limit: int = WHOLE_LIMIT) -> TensorPlan:
    """The plan of a plain (strided, real) tensor; depends on its shape and strides alone.

    Args:
        tensor: Read whole if it is no larger than `limit`.
        limit: Elements that are read at most, see `limit_of`.
    """
    shape, stride = tuple(tensor.shape), tuple(tensor.stride())
    if not is_dense(shape, stride):
        stride = tuple(torch.empty(shape, device="meta").stride())
    n = math.prod(shape)
    spacing = block_spacing(n, limit // BLOCK_LENGTH) if n > limit else None
    return TensorPlan(shape=shape, stride=stride, spacing=spacing, limit=limit)


def block_spacing(n: int, n_blocks: int) -> int:
    """Elements between the starts of blocks: the widest that fits and shares no factor with n.

    A spacing that shares factors with the row length would visit the same few columns only: 576
    in a matrix of 768 columns never reads two thirds of them.
    """
    widest = (n - BLOCK_LENGTH) // (n_blocks - 1)
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
    return tensor.as_strided(plan.view_shape, (plan.spacing, 1), tensor.storage_offset())


class RowLayout:
    """Which rows of a buffer belong to which tensor; the host's half of `Segments`.

    Args:
        sizes: Elements that are read of each tensor, at least 1, shape (n_tensors,).
    """

    def __init__(self, sizes: IntArray) -> None:
        self.sizes = sizes
        self.n_rows_each: IntArray = -(-sizes // ROW_LENGTH)
        self.first_rows: IntArray = np.cumsum(self.n_rows_each) - self.n_rows_each
        self.n_rows = int(self.n_rows_each.sum())
        self.n_padding: IntArray = self.n_rows_each * ROW_LENGTH - sizes
        partial = np.flatnonzero(self.n_padding)
        # Rows that end in padding, and how many elements they hold.
        self.tail_rows: IntArray = (self.first_rows + self.n_rows_each - 1)[partial]
        self.tail_sizes: IntArray = (sizes % ROW_LENGTH)[partial]

    def __len__(self) -> int:
        return len(self.sizes)

    def repeated(self, times: int) -> "RowLayout":
        """That of as many buffers, one after the other."""
        return self if times == 1 else RowLayout(np.tile(self.sizes, times))

    def total(self, rows: AnyFloatArray) -> FloatArray:
        """Sums over the rows of each tensor, in float64: shape (n_rows,) to (n_tensors,)."""
        return np.add.reduceat(rows.astype(np.float64), self.first_rows)

    def smallest(self, rows: AnyFloatArray) -> FloatArray:
        """Minima over the rows of each tensor."""
        return np.minimum.reduceat(rows, self.first_rows).astype(np.float64)

    def largest(self, rows: AnyFloatArray) -> FloatArray:
        """Maxima over the rows of each tensor."""
        return np.maximum.reduceat(rows, self.first_rows).astype(np.float64)


class Segments:
    """The layout of some tensors' samples in a buffer of shape (n_rows, 1024) on one device.

    Args:
        plans: Of the tensors, each of at least one element.
        device: Where the buffers lie.
    """

    def __init__(self, plans: Sequence[TensorPlan], *, device: torch.device) -> None:
        self.plans = tuple(plans)
        self.device = device
        self.layout = RowLayout(np.array([plan.n_sampled for plan in plans], dtype=np.int64))
        self.n_rows = self.layout.n_rows
        owner = np.repeat(np.arange(len(plans)), self.layout.n_rows_each)
        self._owner = self.move(torch.from_numpy(owner))
        self.tail_rows = self.move(torch.from_numpy(self.layout.tail_rows))

    def __len__(self) -> int:
        return len(self.plans)

    def move(self, tensor: Tensor) -> Tensor:
        """The same values on the device of the segments, without waiting for it."""
        return tensor.to(self.device, non_blocking=True)

    @cached_property
    def padding(self) -> Tensor:
        """Which elements of the buffer belong to no tensor, bool, shape (n_rows, 1024)."""
        held = np.full(self.n_rows, ROW_LENGTH)
        held[self.layout.tail_rows] = self.layout.tail_sizes
        columns = torch.arange(ROW_LENGTH, device=self.device)
        return columns >= self.move(torch.from_numpy(held)).unsqueeze(1)

    @cached_property
    def tail_padding(self) -> Tensor:
        """The same for the rows that end in padding alone, shape (n_tails, 1024)."""
        held = self.move(torch.from_numpy(self.layout.tail_sizes))
        return torch.arange(ROW_LENGTH, device=self.device) >= held.unsqueeze(1)

    @cached_property
    def first_fields(self) -> Tensor:
        """Counter of the field 0 of each row's tensor, 512 per tensor, int32, shape (n_rows, 1)."""
        first = torch.arange(len(self), dtype=torch.int32, device=self.device) * N_FIELDS
        return self.spread(first + N_FIELDS // 2)

    def buffer(self, dtype: torch.dtype) -> Tensor:
        """A zeroed buffer, shape (n_rows, 1024); its padding stays zero."""
        return torch.zeros((self.n_rows, ROW_LENGTH), dtype=dtype, device=self.device)

    def places(self, buffer: Tensor) -> list[Tensor]:
        """Views of the buffer that the samples are copied to, one per tensor."""
        flat = buffer.view(-1)
        starts = [int(row) * ROW_LENGTH for row in self.layout.first_rows]
        return [
            flat[start : start + plan.n_sampled].view(plan.view_shape)
            for start, plan in zip(starts, self.plans, strict=True)
        ]

    def spread(self, values: Tensor) -> Tensor:
        """One value per tensor repeated for its rows: shape (n_tensors,) to (n_rows, 1)."""
        return values.index_select(0, self._owner).unsqueeze(1)


class Buffer:
    """Memory for one sample of every member, and the views that the samples are copied to."""

    def __init__(self, segments: Segments, dtype: torch.dtype) -> None:
        self.rows = segments.buffer(dtype)
        self._plans = segments.plans
        self._places = segments.places(self.rows)

    def read(self, tensors: Sequence[Tensor | None]) -> Tensor:
        """Copy the planned elements of plain tensors; zeros where there is none.

        Returns:
            The rows of the buffer.
        """
        present = [i for i, tensor in enumerate(tensors) if tensor is not None]
        views = [
            sampled(plan, tensor)
            for plan, tensor in zip(self._plans, tensors, strict=True)
            if tensor is not None
        ]
        places = self._places
        if len(present) < len(places):
            self.rows.zero_()
            places = [places[i] for i in present]
        if places:
            torch._foreach_copy_(places, views)
        return self.rows
