"""Moments and log2 histograms of all elements of many tensors in one launch: a Triton kernel.

Tensors are given by a table of their addresses, so that nothing is copied and the number of
launches does not grow with their number: one for each dtype, and one that adds up. Each program
reads a chunk of one tensor, in float32 (float64 for float64 tensors), and adds up in float64. Sums
are added in a fixed order and counts are integers, so the result is the same every time.

Tests run it in Triton's interpreter on the CPU against a reference, and compile it for compute
capability 8.0. It has not run on a GPU yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl
from torch import Tensor

from telemetry.capture.parameters.whole_moments import MEASURES, WholeMoments
from telemetry.capture.tensors.sample_plan import N_FIELDS, is_dense

# Measured nowhere yet: long enough that adding up the chunks costs little, short enough that a
# layer of a million elements keeps half the multiprocessors of a large GPU busy.
CHUNK_LENGTH = 16_384
BLOCK_LENGTH = 1_024
COMBINED = 128  # chunks that are added up at a time

N_MEASURES = len(MEASURES)
TYPES = {
    torch.float32: tl.float32,
    torch.float16: tl.float16,
    torch.bfloat16: tl.bfloat16,
    torch.float64: tl.float64,
}


def measure(tensors: Sequence[Tensor], with_fields: bool) -> WholeMoments:  # noqa: FBT001
    """Moments and histograms, without waiting for the device; a `Measure`.

    Args:
        tensors: At least one, on one device, of any floating type and strides.
        with_fields: Whether to count exponents.
    """
    readable = [_readable(tensor) for tensor in tensors]
    chunks = _chunks(tuple((t.numel(), t.dtype) for t in readable), readable[0].device)
    device = chunks.tensors.device
    n_tensors, n_chunks = len(readable), len(chunks.tensors)
    addresses = np.array([tensor.data_ptr() for tensor in readable], dtype=np.int64)
    pointers = torch.from_numpy(addresses).to(device, non_blocking=True)
    partials = torch.empty((N_MEASURES, n_chunks), dtype=torch.float64, device=device)
    measures = torch.empty((N_MEASURES, n_tensors), dtype=torch.float64, device=device)
    # Without fields the kernel does not look at it.
    shape = (n_tensors if with_fields else 1, N_FIELDS)
    fields = torch.zeros(shape, dtype=torch.int32, device=device)
    with torch.cuda.device_of(pointers):  # a launch goes to the current device
        _launch(pointers, chunks, partials, measures, fields, with_fields=with_fields)
    return WholeMoments(measures=measures, fields=fields if with_fields else None)


def _launch(
    pointers: Tensor,
    chunks: "_Chunks",
    partials: Tensor,
    measures: Tensor,
    fields: Tensor,
    *,
    with_fields: bool,
) -> None:
    n_chunks, n_tensors = partials.shape[1], measures.shape[1]
    for dtype, (first, stop) in chunks.ranges.items():
        _measure_chunks[(stop - first,)](
            pointers,
            chunks.sizes,
            chunks.tensors,
            chunks.starts,
            partials,
            fields,
            first,
            n_chunks,
            DTYPE=TYPES[dtype],
            WITH_FIELDS=with_fields,
            N_FIELDS=N_FIELDS,
            CHUNK=CHUNK_LENGTH,
            BLOCK=BLOCK_LENGTH,
        )
    _combine_chunks[(n_tensors,)](
        partials, chunks.firsts, chunks.counts, measures, n_chunks, n_tensors, BLOCK=COMBINED
    )


def _readable(tensor: Tensor) -> Tensor:
    """The same elements in one piece of memory, in any order, of a type that the kernel knows."""
    if tensor.dtype not in TYPES:
        tensor = tensor.float()
    return tensor if is_dense(tensor.shape, tensor.stride()) else tensor.contiguous()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Chunks:
    """Which elements each program reads.

    Attributes:
        sizes: Elements of each tensor.
        firsts: Index of the first chunk of each tensor.
        counts: Chunks of each tensor.
        tensors: Index of the tensor of each chunk.
        starts: Index of the first element of each chunk.
        ranges: First chunk and end of the chunks of each dtype.
    """

    sizes: Tensor
    firsts: Tensor
    counts: Tensor
    tensors: Tensor
    starts: Tensor
    ranges: dict[torch.dtype, tuple[int, int]]


@lru_cache(maxsize=64)
def _chunks(kinds: tuple[tuple[int, torch.dtype], ...], device: torch.device) -> _Chunks:
    """The chunks of tensors of these sizes and types; the same ones come back at each sample."""
    sizes = np.array([size for size, _ in kinds], dtype=np.int64)
    counts = -(-sizes // CHUNK_LENGTH)
    firsts = np.zeros_like(counts)
    ranges: dict[torch.dtype, tuple[int, int]] = {}
    order: list[npt.NDArray[np.int64]] = []
    n_chunks = 0
    for dtype in dict.fromkeys(dtype for _, dtype in kinds):
        index = np.flatnonzero([other == dtype for _, other in kinds])
        n_own = int(counts[index].sum())
        firsts[index] = n_chunks + np.cumsum(counts[index]) - counts[index]
        if n_own:
            ranges[dtype] = (n_chunks, n_chunks + n_own)
        order.append(index)
        n_chunks += n_own
    owners = np.repeat(np.concatenate(order), counts[np.concatenate(order)])
    starts = (np.arange(n_chunks) - firsts[owners]) * CHUNK_LENGTH
    moved = [
        torch.from_numpy(array.astype(np.int64)).to(device, non_blocking=True)
        for array in (sizes, firsts, counts, owners, starts)
    ]
    return _Chunks(
        sizes=moved[0],
        firsts=moved[1],
        counts=moved[2],
        tensors=moved[3],
        starts=moved[4],
        ranges=ranges,
    )


# --- on the device --------------------------------------------------------------------------------


# Compiled once for all sizes.
@triton.jit(do_not_specialize=["first_chunk", "n_chunks"])
def _measure_chunks(
    pointers,
    sizes,
    chunk_tensors,
    chunk_starts,
    partials,
    fields,
    first_chunk,
    n_chunks,
    DTYPE: tl.constexpr,
    WITH_FIELDS: tl.constexpr,
    N_FIELDS: tl.constexpr,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Partial results of one chunk."""
    chunk = first_chunk + tl.program_id(0)
    tensor = tl.load(chunk_tensors + chunk)
    size = tl.load(sizes + tensor)
    start = tl.load(chunk_starts + chunk)
    values = tl.load(pointers + tensor).to(tl.pointer_type(DTYPE))
    columns = tl.arange(0, BLOCK)
    infinity = float("inf")
    total = tl.zeros((BLOCK,), tl.float64)
    squares = tl.zeros((BLOCK,), tl.float64)
    n_zero = tl.zeros((BLOCK,), tl.int32)
    n_nan = tl.zeros((BLOCK,), tl.int32)
    n_inf = tl.zeros((BLOCK,), tl.int32)
    wide_type: tl.constexpr = tl.float64 if tl.float64 == DTYPE else tl.float32
    low = tl.full((BLOCK,), infinity, wide_type)
    high = tl.full((BLOCK,), -infinity, wide_type)
    bins = tl.arange(0, N_FIELDS)
    counts = tl.zeros((N_FIELDS,), tl.int32)
    for offset in range(0, CHUNK, BLOCK):
        index = start + offset + columns
        is_held = index < size
        value = tl.load(values + index, mask=is_held, other=0.0).to(wide_type)
        is_nan = value != value  # noqa: PLR0124
        is_inf = tl.abs(value) == infinity
        is_finite = is_held & (is_nan == 0) & (is_inf == 0)
        kept = tl.where(is_finite, value, 0.0)
        wide = kept.to(tl.float64)
        total += wide
        squares += wide * wide
        low = tl.minimum(low, tl.where(is_finite, value, infinity))
        high = tl.maximum(high, tl.where(is_finite, value, -infinity))
        is_zero = is_finite & (value == 0.0)
        n_zero += is_zero.to(tl.int32)
        n_nan += is_nan.to(tl.int32)
        n_inf += is_inf.to(tl.int32)
        if WITH_FIELDS:
            # Sign and exponent. What is not counted goes to field 0 and is subtracted from it.
            bits = kept.to(tl.float32).to(tl.int32, bitcast=True)
            is_counted = is_finite & (is_zero == 0)
            field = tl.where(is_counted, (bits >> 23) & (N_FIELDS - 1), 0)
            n_left_out = BLOCK - tl.sum(is_counted.to(tl.int32), axis=0)
            counts += tl.histogram(field, N_FIELDS) - tl.where(bins == 0, n_left_out, 0)
    place = partials + chunk
    tl.store(place, tl.sum(total, axis=0))
    tl.store(place + n_chunks, tl.sum(squares, axis=0))
    tl.store(place + 2 * n_chunks, tl.min(low, axis=0).to(tl.float64))
    tl.store(place + 3 * n_chunks, tl.max(high, axis=0).to(tl.float64))
    tl.store(place + 4 * n_chunks, tl.sum(n_zero, axis=0).to(tl.float64))
    tl.store(place + 5 * n_chunks, tl.sum(n_nan, axis=0).to(tl.float64))
    tl.store(place + 6 * n_chunks, tl.sum(n_inf, axis=0).to(tl.float64))
    if WITH_FIELDS:
        # Few exponents occur, so few counters are touched; integers add up in any order.
        tl.atomic_add(fields + tensor * N_FIELDS + bins, counts, mask=counts > 0)


@triton.jit(do_not_specialize=["n_chunks", "n_tensors"])
def _combine_chunks(partials, firsts, counts, measures, n_chunks, n_tensors, BLOCK: tl.constexpr):
    """Results of one tensor from those of its chunks, in their order."""
    tensor = tl.program_id(0)
    first = tl.load(firsts + tensor)
    count = tl.load(counts + tensor)
    columns = tl.arange(0, BLOCK)
    infinity = float("inf")
    total = tl.zeros((BLOCK,), tl.float64)
    squares = tl.zeros((BLOCK,), tl.float64)
    n_zero = tl.zeros((BLOCK,), tl.float64)
    n_nan = tl.zeros((BLOCK,), tl.float64)
    n_inf = tl.zeros((BLOCK,), tl.float64)
    low = tl.full((BLOCK,), infinity, tl.float64)
    high = tl.full((BLOCK,), -infinity, tl.float64)
    for offset in range(0, count, BLOCK):
        is_held = offset + columns < count
        place = partials + first + offset + columns
        total += tl.load(place, mask=is_held, other=0.0)
        squares += tl.load(place + n_chunks, mask=is_held, other=0.0)
        low = tl.minimum(low, tl.load(place + 2 * n_chunks, mask=is_held, other=infinity))
        high = tl.maximum(high, tl.load(place + 3 * n_chunks, mask=is_held, other=-infinity))
        n_zero += tl.load(place + 4 * n_chunks, mask=is_held, other=0.0)
        n_nan += tl.load(place + 5 * n_chunks, mask=is_held, other=0.0)
        n_inf += tl.load(place + 6 * n_chunks, mask=is_held, other=0.0)
    result = measures + tensor
    tl.store(result, tl.sum(total, axis=0))
    tl.store(result + n_tensors, tl.sum(squares, axis=0))
    tl.store(result + 2 * n_tensors, tl.min(low, axis=0))
    tl.store(result + 3 * n_tensors, tl.max(high, axis=0))
    tl.store(result + 4 * n_tensors, tl.sum(n_zero, axis=0))
    tl.store(result + 5 * n_tensors, tl.sum(n_nan, axis=0))
    tl.store(result + 6 * n_tensors, tl.sum(n_inf, axis=0))
