"""Fingerprint and size of the batches that enter the model.

A batch hash is the sum over at most 4,096 strided elements of bits(x_i) * splitmix64(i) modulo
2^64, with shape and dtype mixed in. It is positional: a plain sum of the bits collides (2,000 token
batches had 1,703 distinct plain sums and 2,000 distinct positional ones).
"""

import dataclasses
import math
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from telemetry.capture.budget import Governor
from telemetry.capture.plain_tensors import dense_parts
from telemetry.capture.position_hash import splitmix64
from telemetry.capture.step_ledger import StepRecord

MAX_ELEMENTS = 4096
MAX_DEPTH = 8  # of containers in containers
MAX_ENTRIES = 4096  # of one container
MAX_SALTS = 4096  # shapes that are remembered
WINDOW_STEPS = 64
NOTABLE_S = 0.01  # of a window: a dearer one may be cut short
UNLIMITED_SHARE = 0.01  # of the elapsed time: what hashing has its share of without a budget
HASH_SHARE = 0.25  # of what capture may cost; repeated batches need consecutive steps
BITS_OF_WIDTH = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Array: TypeAlias = npt.NDArray[np.float64]  # or of another type: generic ones are Any
Leaf: TypeAlias = Tensor | Array | str
Kind: TypeAlias = tuple[tuple[int, ...], object]  # shape and dtype


def leaves_in(arguments: object, depth: int = MAX_DEPTH) -> Iterator[Leaf]:
    """Tensors, arrays and texts of arguments, in a fixed order.

    Mappings, sequences and dataclasses are entered, the first 4,096 entries of each.
    """
    if isinstance(arguments, Tensor | np.ndarray | str):
        yield arguments
        return
    if depth:
        for value in islice(_entries(arguments), MAX_ENTRIES):
            yield from leaves_in(value, depth - 1)


def _entries(container: object) -> Iterable[object]:
    if isinstance(container, Mapping):
        return container.values()
    if isinstance(container, Sequence):
        return () if isinstance(container, str | bytes | bytearray | range) else container
    if dataclasses.is_dataclass(container) and not isinstance(container, type):
        return [getattr(container, each.name, None) for each in dataclasses.fields(container)]
    return ()


def tensors_in(arguments: object) -> Iterator[Tensor]:
    """Tensors of positional and keyword arguments, containers entered, in a fixed order."""
    if isinstance(arguments, Tensor):
        yield arguments
    else:
        yield from (leaf for leaf in leaves_in(arguments) if isinstance(leaf, Tensor))


class BatchHasher:
    """Hashes batches on their device; multipliers are kept per device."""

    def __init__(self) -> None:
        self._multipliers: dict[torch.device, Tensor] = {}
        self._salts: dict[Kind, int] = {}

    def __call__(self, batch: Tensor | Array) -> Tensor:
        """The hash, a 0-d int64 tensor on the batch's device.

        Args:
            batch: Any shape, layout and dtype; read, never written.
        """
        with torch.no_grad():
            if isinstance(batch, np.ndarray):
                bits = torch.from_numpy(array_bits(batch))
                return self._digest(bits, (batch.shape, batch.dtype))
            first, *others = [self._hash(part) for part in dense_parts(batch.detach())]
            for other in others:  # sizes lie on the host, values may not
                first = first + other
            return first

    def _hash(self, part: Tensor) -> Tensor:
        return self._digest(bit_sample(part).to(torch.int64), (part.shape, part.dtype))

    def _digest(self, bits: Tensor, kind: Kind) -> Tensor:
        multipliers = self._multipliers.get(bits.device)
        if multipliers is None:
            words = splitmix64(np.arange(MAX_ELEMENTS))
            multipliers = torch.from_numpy(words).to(bits.device)
            self._multipliers[bits.device] = multipliers
        return (bits * multipliers[: bits.numel()]).sum() + self._salt(kind)

    def _salt(self, kind: Kind) -> int:
        salt = self._salts.get(kind)
        if salt is None:
            if len(self._salts) >= MAX_SALTS:
                self._salts.clear()
            shape, dtype = kind
            salt = zlib.crc32(f"{tuple(shape)}{dtype}".encode())
            self._salts[kind] = salt
        return salt


def text_hash(texts: Iterable[str]) -> int:
    """One number of 32 bits for texts in their order, of each its first 4,096 characters."""
    found = 0
    for text in texts:
        found = zlib.crc32(f"{text[:MAX_ELEMENTS]}\0".encode("utf-8", "replace"), found)
    return found


def array_bits(values: Array) -> npt.NDArray[np.int64]:
    """As `bit_sample`, of an array; those of Python objects give an empty result."""
    if not values.size or values.dtype.hasobject:
        return np.zeros(0, dtype=np.int64)
    stride = -(-values.size // MAX_ELEMENTS)
    sample = np.ascontiguousarray(values.ravel(order="K")[::stride])
    width = next(size for size in (8, 4, 2, 1) if sample.itemsize % size == 0)
    return sample.view(f"i{width}")[:MAX_ELEMENTS].astype(np.int64)


def bit_sample(values: Tensor) -> Tensor:
    """At most 4,096 elements, evenly spread in memory order, as integers of their width.

    Args:
        values: Strided, of any shape and dtype; meta and empty tensors give an empty result.
    """
    if values.is_meta or not values.numel():
        return torch.zeros(0, dtype=torch.int64, device="cpu")
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    values = values.resolve_neg()
    width = BITS_OF_WIDTH.get(values.element_size())
    if width is None:
        return torch.zeros(0, dtype=torch.int64, device=values.device)
    count = values.numel()
    stride = -(-count // MAX_ELEMENTS)
    in_memory_order = values.permute(sorted(range(values.dim()), key=values.stride, reverse=True))
    if in_memory_order.is_contiguous():
        # Also channels_last batches: no copy of the batch is made.
        flat = in_memory_order.view(-1)[::stride]
    else:
        rows = max(1, MAX_ELEMENTS * len(values) // count)
        flat = values[:rows].reshape(-1)[:MAX_ELEMENTS]
    return flat.contiguous().view(width)


def batch_size(args: tuple[object, ...], kwargs: Mapping[str, object]) -> int:
    """Samples of a forward: first dimension of the first array among its arguments; 0 without.

    Of packed sequences, how many there are; of texts, how many stand together.
    """
    first = args[0] if args else None
    if isinstance(first, Tensor) and first.dim():
        return first.size(0)
    # Rare: what follows is too slow for every forward.
    found = (_n_samples(value, MAX_DEPTH) for value in (*args, *kwargs.values()))
    return next((size for size in found if size is not None), 0)


def _n_samples(value: object, depth: int) -> int | None:
    if isinstance(value, Tensor):
        return value.size(0) if value.dim() else None
    if isinstance(value, PackedSequence):
        return int(value.batch_sizes.numpy()[0])
    if isinstance(value, np.ndarray):
        return len(value) if value.ndim else None
    entries = list(islice(_entries(value), MAX_ENTRIES)) if depth else []
    if entries and isinstance(value, list | tuple) and all(isinstance(e, str) for e in entries):
        return len(entries)
    found = (_n_samples(entry, depth - 1) for entry in entries)
    return next((size for size in found if size is not None), None)


class HashWindows:
    """Opens windows of 64 consecutive steps while hashing stays within its share of the budget.

    Hashing has a purse of its own: windows that open and close would make the cadence of the
    samples swing. A window opens if it can be paid for to its end, as far as one can tell.

    Attributes:
        cost_s: Seconds spent on hashing so far.
    """

    def __init__(self) -> None:
        self.cost_s = 0.0
        self._began_step = 0
        self._began_cost_s = 0.0
        self._per_step_s = 0.0  # in the last window
        self._open = True

    def wanted(
        self, step: int, allowed_s: Callable[[], float], limit_s: Callable[[], float]
    ) -> bool:
        """Whether the batches of this step are hashed.

        Args:
            step: Optimizer step; windows begin at its multiples of 64, so ranks share them.
            allowed_s: Tells what hashing should have cost by now at most.
            limit_s: Tells what it must not exceed.
        """
        if step % WINDOW_STEPS == 0:
            self._close(step)
            self._open = self.cost_s + WINDOW_STEPS * self._per_step_s <= allowed_s()
            self._began_step, self._began_cost_s = step, self.cost_s
        elif self._open and self.cost_s - self._began_cost_s > NOTABLE_S:
            self._close(step)
            self._open = self.cost_s + self._per_step_s <= limit_s()
        return self._open

    def _close(self, step: int) -> None:
        if self._open and step > self._began_step:
            self._per_step_s = (self.cost_s - self._began_cost_s) / (step - self._began_step)


class InputObserver:
    """Notes the hash of the batches of training forwards.

    Args:
        governor: Says which steps are sampled, and what recording may cost.
    """

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self._hasher = BatchHasher()
        self._windows = HashWindows()

    @property
    def cost_s(self) -> float:
        """Seconds spent on hashing so far."""
        return self._windows.cost_s

    def wanted(self, step: int) -> bool:
        """Whether its batches are hashed although it is not sampled; asked as a step begins."""
        return self._windows.wanted(step, self._allowed_s, self._limit_s)

    @property
    def is_affordable(self) -> bool:
        """Whether hashing has not cost more than it was promised to."""
        return self._windows.cost_s <= self._limit_s()

    def go_on(self, cost_s: float) -> None:
        """Count on from what earlier attempts of the run have spent on hashing, in seconds."""
        self._windows.cost_s = cost_s

    def charge(self, seconds: float) -> None:
        """Add time that was spent on hashing."""
        self._windows.cost_s += seconds

    def observe(
        self, record: StepRecord, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        """Add a forward's arguments to the hash of its step."""
        found = record.batch_hash
        texts: list[str] = []
        for leaf in leaves_in((args, kwargs)):
            if isinstance(leaf, str):
                texts.append(leaf)
            else:
                digest = self._hasher(leaf)
                found = digest if found is None else found + digest
        if texts:
            digest = torch.tensor(text_hash(texts), dtype=torch.int64, device="cpu")
            found = digest if found is None else found + digest
        record.batch_hash = found

    def _allowed_s(self) -> float:
        allowed_s = self._governor.allowed_s
        if math.isinf(allowed_s):  # samples were asked for, not hashes of every step between them
            allowed_s = UNLIMITED_SHARE * self._governor.elapsed_s
        return HASH_SHARE / (1 - HASH_SHARE) * allowed_s

    def _limit_s(self) -> float:
        return HASH_SHARE / (1 - HASH_SHARE) * self._governor.limit_s
