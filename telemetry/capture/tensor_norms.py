"""L2 norms over all elements of many tensors, one read of each."""

from collections.abc import Sequence

import torch
from torch import Tensor

from telemetry.capture.host import on_host

HALF_TYPES = frozenset({torch.float16, torch.bfloat16})


def tensor_norms(tensors: Sequence[Tensor]) -> Tensor:
    """Norm of each tensor, float64 where the device has it, shape (n_tensors,).

    On a CPU the sums run in float32 (float64 for float64 tensors): elements whose squares are no
    float32 overflow or vanish in it. Elsewhere the sums run in float64.
    """
    listed = list(tensors)
    if on_host(listed[0]):
        return torch.stack(host_norms(listed)).double()
    return torch.stack(device_norms(listed))


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
