"""A code of 128 bits for a sample: codes of samples that lie close to each other differ in few.

Bit k is the sign of the sample's product with a fixed vector of signs, after its own mean was taken
off: two samples at an angle of a differ in a share a / pi of the bits, whatever their scale and
their offset. A copy with a tenth of noise differs in four or five, another sample in thirty.

Source: Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002.
"""

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.tensors.inputs import leaves_in
from telemetry.capture.tensors.position_hash import splitmix64
from telemetry.format.sketch_size import CODE_WORDS

MAX_ELEMENTS = 256  # of a sample, evenly spread
MIN_ELEMENTS = 8  # in fewer dimensions other samples are near, too
MAX_ROWS = 256  # of a forward
BITS = 64  # of a word


class SampleCodes:
    """Makes codes on the device of a batch; the signs are kept per device."""

    def __init__(self) -> None:
        self._signs: dict[torch.device, Tensor] = {}
        self._powers: dict[torch.device, Tensor] = {}

    def __call__(self, arguments: object) -> Tensor | None:
        """Codes of the first rows, shape (n_rows, 2), int64.

        Args:
            arguments: Of a forward; read, never written.

        Returns:
            None where there is no batch of floating-point samples, or more than one.
        """
        found = [leaf for leaf in leaves_in(arguments) if isinstance(leaf, Tensor)]
        batches = [leaf for leaf in found if _is_batch(leaf)]
        if len(batches) != 1:
            return None
        with torch.no_grad(), torch.autocast(batches[0].device.type, enabled=False):
            rows = batches[0].detach()[:MAX_ROWS].reshape(min(len(batches[0]), MAX_ROWS), -1)
            read = rows[:, :: -(-rows.shape[1] // MAX_ELEMENTS)].float()
            signs = self._for(read.device)[: read.shape[1]]
            bits = (read - read.mean(1, keepdim=True)) @ signs > 0
            words = bits.view(len(read), CODE_WORDS, BITS) * self._powers[read.device]
            return words.sum(-1)

    def _for(self, device: torch.device) -> Tensor:
        found = self._signs.get(device)
        if found is None:
            words = splitmix64(np.arange(MAX_ELEMENTS * CODE_WORDS)).view(np.uint8)
            signs = np.unpackbits(words).reshape(MAX_ELEMENTS, -1).astype(np.float32)
            found = self._signs[device] = torch.from_numpy(2 * signs - 1).to(device)
            powers = np.left_shift(np.int64(1), np.arange(BITS, dtype=np.int64))
            self._powers[device] = torch.from_numpy(powers).to(device)
        return found


def _is_batch(leaf: Tensor) -> bool:
    is_dense = leaf.layout is torch.strided and not leaf.is_nested
    if not is_dense or leaf.is_meta or leaf.is_quantized:
        return False
    is_plain = leaf.is_floating_point() and leaf.dim() > 1 and not hasattr(leaf, "placements")
    return is_plain and len(leaf) > 0 and leaf[0].numel() >= MIN_ELEMENTS
