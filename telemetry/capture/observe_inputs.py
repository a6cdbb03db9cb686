"""Fingerprint and size of the batches that enter the model.

A batch hash is the sum over at most 4,096 strided elements of bits(x_i) * splitmix64(i) modulo
2^64, with shape and dtype mixed in. It is positional: a plain sum of the bits collides (2,000 token
batches had 1,703 distinct plain sums and 2,000 distinct positional ones).
"""

import math
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.budget import Governor
from telemetry.capture.position_hash import splitmix64
from telemetry.capture.step_ledger import StepRecord

MAX_ELEMENTS = 4096
WINDOW_STEPS = 64
UNLIMITED_SHARE = 0.01  # of the elapsed time: what hashing has its share of without a budget
HASH_SHARE = 0.25  # of what capture may cost; repeated batches need consecutive steps
BITS_OF_WIDTH = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def tensors_in(arguments: object) -> Iterator[Tensor]:
    """Tensors of positional and keyword arguments, containers entered, in a fixed order."""
    if isinstance(arguments, Tensor):
        yield arguments
    elif isinstance(arguments, Mapping):
        for value in arguments.values():
            yield from tensors_in(value)
    elif isinstance(arguments, Sequence) and not isinstance(arguments, str | bytes):
        for value in arguments:
            yield from tensors_in(value)


class BatchHasher:
    """Hashes batches on their device; multipliers are kept per device."""

    def __init__(self) -> None:
        self._multipliers: dict[torch.device, Tensor] = {}
        self._salts: dict[tuple[torch.Size, torch.dtype], int] = {}

    def __call__(self, batch: Tensor) -> Tensor:
        """The hash, a 0-d int64 tensor on the batch's device.

        Args:
            batch: Any shape and dtype; read, never written.
        """
        with torch.no_grad():
            bits = bit_sample(batch.detach()).to(torch.int64)
            multipliers = self._multipliers.get(bits.device)
            if multipliers is None:
                words = splitmix64(np.arange(MAX_ELEMENTS))
                multipliers = torch.from_numpy(words).to(bits.device)
                self._multipliers[bits.device] = multipliers
            return (bits * multipliers[: bits.numel()]).sum() + self._salt(batch)

    def _salt(self, batch: Tensor) -> int:
        key = (batch.shape, batch.dtype)
        salt = self._salts.get(key)
        if salt is None:
            salt = zlib.crc32(f"{tuple(batch.shape)}{batch.dtype}".encode())
            self._salts[key] = salt
        return salt


def bit_sample(values: Tensor) -> Tensor:
    """At most 4,096 elements, evenly spread in memory order, as integers of their width.

    Args:
        values: Any shape and dtype; sparse, quantised and empty tensors give an empty result.
    """
    if values.layout is not torch.strided or values.is_quantized or not values.numel():
        return torch.zeros(0, dtype=torch.int64, device=values.device)
    if values.is_complex():
        values = torch.view_as_real(values)
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
    """First dimension of the first tensor among the arguments of a forward; 0 without one."""
    first = args[0] if args else None
    if not isinstance(first, Tensor):  # rare: what follows is too slow for every forward
        first = next((t for t in (*tensors_in(args), *tensors_in(kwargs)) if t.dim()), None)
    return int(first.shape[0]) if first is not None and first.dim() else 0


class HashWindows:
    """Opens windows of 64 consecutive steps while hashing stays within its share of the budget.

    Hashing has a purse of its own: windows that open and close would make the cadence of the
    samples swing.
    """

    def __init__(self) -> None:
        self.cost_s = 0.0
        self._open = True

    def wanted(self, step: int, allowed_s: Callable[[], float]) -> bool:
        """Whether the batches of this step are hashed.

        Args:
            step: Optimizer step; windows begin at its multiples of 64, so ranks share them.
            allowed_s: Tells what hashing may have cost by now.
        """
        if step % WINDOW_STEPS == 0:
            self._open = self.cost_s <= allowed_s()
        return self._open


class InputObserver:
    """Notes the hash of the batches of training forwards.

    Args:
        governor: Says which steps are sampled, and what recording may cost.
        clock: Seconds.
    """

    def __init__(self, governor: Governor, *, clock: Callable[[], float]) -> None:
        self._governor = governor
        self._clock = clock
        self._hasher = BatchHasher()
        self._windows = HashWindows()

    @property
    def cost_s(self) -> float:
        """Seconds spent on hashing so far."""
        return self._windows.cost_s

    def wanted(self, step: int) -> bool:
        """Whether its batches are hashed although it is not sampled; asked as a step begins."""
        return self._windows.wanted(step, self._allowed_s)

    def go_on(self, cost_s: float) -> None:
        """Count on from what earlier attempts of the run have spent on hashing, in seconds."""
        self._windows.cost_s = cost_s

    def observe(
        self, record: StepRecord, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> float:
        """Add a forward's arguments to the hash of its step; returns the seconds that took."""
        started_s = self._clock()
        for tensor in (*tensors_in(args), *tensors_in(kwargs)):
            digest = self._hasher(tensor)
            known = record.batch_hash
            record.batch_hash = digest if known is None else known + digest
        spent_s = self._clock() - started_s
        self._windows.cost_s += spent_s
        return spent_s

    def _allowed_s(self) -> float:
        allowed_s = self._governor.allowed_s
        if math.isinf(allowed_s):  # samples were asked for, not hashes of every step between them
            allowed_s = UNLIMITED_SHARE * self._governor.elapsed_s
        return HASH_SHARE / (1 - HASH_SHARE) * allowed_s
