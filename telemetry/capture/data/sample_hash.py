"""One hash for each sample of a batch, so that two data sets can be compared without keeping them.

The hash of a sample is the sum over at most 256 of its elements of bits(x_j) * splitmix64(j) modulo
2^64. Which elements are read depends on the sample's shape alone: the same sample has the same hash
in a batch of any size.
"""

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.data.batches import BITS_OF_WIDTH
from telemetry.capture.tensors.inputs import leaves_in
from telemetry.capture.tensors.position_hash import splitmix64

MAX_ELEMENTS = 256  # of a sample, per tensor
MIN_ELEMENTS = 8  # of a sample in all its tensors: of fewer, equal ones are no surprise
MAX_READ = 1 << 22  # elements of a tensor that are read; a part of a batch would be no data set
MAX_TENSORS = 8
COPY_ELEMENTS = 1 << 16  # of a tensor that does not lie in rows and must be copied
N_LOOKED_AT = 16  # samples of a forward whose distinct values are counted


class SampleHasher:
    """Hashes the rows of batches on their device; multipliers are kept per device."""

    def __init__(self) -> None:
        self._multipliers: dict[torch.device, Tensor] = {}

    def __call__(self, arguments: object) -> Tensor | None:
        """The hashes, shape (n_samples,), int64, on the batch's device.

        Args:
            arguments: Of a forward; read, never written.

        Returns:
            None where they are not rows of samples: tensors of different lengths (nodes and edges
            of a graph), texts, sparse or nested tensors, samples of fewer than 8 elements, or very
            many of them at once.
        """
        with torch.no_grad():
            parts = rows_of(arguments)
            if not parts:
                return None
            total: Tensor | None = None
            for index, bits in enumerate(parts):
                begin = index * MAX_ELEMENTS
                multipliers = self._for(bits.device)[begin : begin + bits.shape[1]]
                hashes = (bits.to(torch.int64) * multipliers).sum(1)
                if total is not None and total.device != hashes.device:
                    return None
                total = hashes if total is None else total + hashes
            return total

    def _for(self, device: torch.device) -> Tensor:
        found = self._multipliers.get(device)
        if found is None:
            words = splitmix64(np.arange(MAX_TENSORS * MAX_ELEMENTS))
            found = self._multipliers[device] = torch.from_numpy(words).to(device)
        return found


def distinct_values(arguments: object) -> Tensor | None:
    """How many distinct values some samples have among the elements that are hashed.

    Args:
        arguments: Of a forward.

    Returns:
        Shape (n,), n at most 16; of the tensor with the longest rows. None as for the hashes.
    """
    with torch.no_grad():
        parts = rows_of(arguments)
        if not parts:
            return None
        longest = max(parts, key=lambda bits: bits.shape[1])
        ordered = longest[:N_LOOKED_AT].to(torch.int64).sort(dim=1).values
        return 1 + (ordered[:, 1:] != ordered[:, :-1]).sum(1)


def rows_of(arguments: object) -> list[Tensor]:
    """Bits of the tensors among arguments, a row per sample: shape (n_samples, n_elements) each.

    Scalars are left out. Empty where the arguments are not rows of samples.
    """
    parts: list[Tensor] = []
    n_samples, n_elements = -1, 0
    for leaf in leaves_in(arguments):
        if not isinstance(leaf, Tensor) or leaf.is_nested:
            return []
        if not leaf.dim():
            continue
        if n_samples < 0:
            n_samples = len(leaf)
        bits = _row_bits(leaf) if len(leaf) == n_samples else None
        if bits is None or len(parts) == MAX_TENSORS:
            return []
        n_elements += leaf.numel() // n_samples
        parts.append(bits)
    return parts if n_elements >= MIN_ELEMENTS else []


def _row_bits(values: Tensor) -> Tensor | None:
    """Elements of each row, evenly spread in memory order; None for what does not lie in rows."""
    values = values.detach()
    is_plain = values.layout is torch.strided and not (values.is_meta or values.is_quantized)
    if not is_plain or not values.numel() or hasattr(values, "placements"):
        return None
    if values.is_complex():
        values = torch.view_as_real(values.resolve_conj())
    width = BITS_OF_WIDTH.get(values.element_size())
    if width is None:
        return None
    values = values.resolve_neg()
    others = sorted(range(1, values.dim()), key=values.stride, reverse=True)
    in_memory_order = values.permute(0, *others)
    if in_memory_order.is_contiguous():  # also channels_last: no copy of the batch is made
        rows = in_memory_order.view(len(values), -1)
    elif values.numel() <= COPY_ELEMENTS:
        rows = values.reshape(len(values), -1)
    else:
        return None
    stride = -(-rows.shape[1] // MAX_ELEMENTS)
    read = rows[:, ::stride]
    return read.view(width) if read.numel() <= MAX_READ else None
