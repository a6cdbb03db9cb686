"""Fingerprint of the batches that enter the model.

A batch hash is the sum over at most 4,096 strided elements of bits(x_i) * splitmix64(i) modulo
2^64, with shape and dtype mixed in. It is positional: a plain sum of the bits collides (2,000 token
batches had 1,703 distinct plain sums and 2,000 distinct positional ones).
"""

import zlib
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from telemetry.capture.tensors.inputs import Array, leaves_in
from telemetry.capture.tensors.plain import dense_parts
from telemetry.capture.tensors.position_hash import splitmix64

MAX_ELEMENTS = 4096
MAX_SALTS = 4096  # shapes that are remembered
BITS_OF_WIDTH = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}

Kind: TypeAlias = tuple[tuple[int, ...], object]  # shape and dtype


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

    def total(self, arguments: object) -> Tensor | None:
        """The hash of everything that a forward is given; None where nothing can be hashed.

        Args:
            arguments: Tensors, arrays and texts in any containers.
        """
        found: Tensor | None = None
        texts: list[str] = []
        for leaf in leaves_in(arguments):
            if isinstance(leaf, str):
                texts.append(leaf)
            else:
                digest = self(leaf)
                found = digest if found is None else found + digest
        if texts:
            digest = torch.tensor(text_hash(texts), dtype=torch.int64, device="cpu")
            found = digest if found is None else found + digest
        return found

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
