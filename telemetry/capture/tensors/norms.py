"""L2 norms over all elements of many tensors, one read of each."""

import itertools
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.tensors.host import on_host
from telemetry.capture.tensors.sample_plan import is_dense

HALF_TYPES = frozenset({torch.float16, torch.bfloat16})
# Elements whose squares are added up in float32: of 2.4 M normal ones the norm was 4e-5 too small,
# of 17 M 7e-4, of these 4e-6.
PIECE_LENGTH = 1 << 19


def tensor_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Norm of each tensor, float64 where the device has it, shape (n_tensors,).

    On a CPU the sums run in float32 (float64 for float64 tensors): elements whose squares are no
    float32 overflow or vanish in it. Large tensors are summed in pieces, and these in float64.
    Elsewhere all sums run in float64.
    """
    listed = list(tensors)
    if not on_host(listed[0]):
        return torch.stack(device_norms(listed))
    parts = [pieces(tensor) for tensor in listed]
    norms = torch.stack(host_norms(list(itertools.chain.from_iterable(parts)))).double()
    if len(norms) == len(listed):
        return norms
    sizes = np.array([len(part) for part in parts])
    squares = np.add.reduceat(norms.square().numpy(), np.cumsum(sizes) - sizes)
    return torch.from_numpy(np.sqrt(squares))


def pieces(tensor: Tensor) -> Sequence[Tensor]:
    """Views that together hold the elements of a tensor, of some 2^18 elements where possible."""
    n = tensor.numel()
    if n <= PIECE_LENGTH:
        return (tensor,)
    if is_dense(tensor.shape, tensor.stride()):
        flat = tensor.as_strided((n,), (1,), tensor.storage_offset())
        return torch.split(flat, PIECE_LENGTH)
    return torch.split(tensor, max(1, PIECE_LENGTH * len(tensor) // n))


def host_norms(tensors: list[Tensor]) -> list[Tensor]:
    """Norms in float32, float64 for float64 tensors; one call for each dtype."""
    dtypes = {tensor.dtype for tensor in tensors}
    if dtypes == {torch.float32}:
        return list(torch._foreach_norm(tensors))  # noqa: SLF001 - it has no public name
    result: dict[int, Tensor] = {}
    for dtype in dtypes:
        index = [i for i, tensor in enumerate(tensors) if tensor.dtype == dtype]
        group = [tensors[i] for i in index]
        if not dtype.is_floating_point:
            group = [tensor.float() for tensor in group]
        # A norm of half precision in its own type has three digits.
        wider = torch.float32 if dtype in HALF_TYPES else None
        norms = torch._foreach_norm(group, 2, wider)  # noqa: SLF001 - it has no public name
        result.update(zip(index, (norm.double() for norm in norms), strict=True))
    return [result[i] for i in range(len(tensors))]


def device_norms(tensors: list[Tensor]) -> list[Tensor]:
    """Norms accumulated in float64 where the device has it."""
    dtype = torch.float32 if tensors[0].device.type == "mps" else torch.float64
    floats = [t if t.dtype.is_floating_point else t.float() for t in tensors]
    if dtype == torch.float32:
        floats = [t.float() for t in floats]
    return list(torch._foreach_norm(floats, 2, dtype))  # noqa: SLF001 - it has no public name
