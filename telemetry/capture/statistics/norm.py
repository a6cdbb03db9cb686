"""Exact sum of squares, NaN and infinity counts of gradients and weights over all elements.

One foreach norm reads each tensor once. It is exact only where float32 holds the squares, and any
NaN or infinity shows in it; tensors for which it does not suffice are read again, which is rare:

- On a CPU, where the host sees the norms at once: counted exactly, sum of squares in float64 over
  the finite elements.
- Elsewhere the host must not wait. The norm is accumulated in float64, so nothing overflows or
  vanishes; the sum of squares of a tensor with a NaN or infinity is NULL, and the counts are those
  of the sample, at least 1 where the norm says so.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.statistic import Kind, ParameterStatistic, Sample

# Outside, squares of float32 elements overflow, or lose digits and vanish.
SAFE_NORM = (1e-15, 1e18)
HALF_TYPES = frozenset({torch.float16, torch.bfloat16})


def compute(sample: Sample) -> Tensor:
    """Columns sumsq, n_nan, n_inf, float64."""
    if sample.values.device.type == "cpu":
        norms = torch.stack(host_norms(sample.relations.tensors)).double()
        found = torch.zeros((3, len(norms)), dtype=torch.float64)
        torch.mul(norms, norms, out=found[0])
        for i in unsafe(norms, sample):
            _read_again(sample.relations.tensors[i], found[:, i])
        return found
    norms = torch.stack(device_norms(sample.relations.tensors))
    known = torch.isfinite(norms)
    none = torch.zeros_like(norms)
    n_nan = none if sample.n_nan is None else sample.n_nan.to(norms.dtype)
    n_inf = none if sample.n_inf is None else sample.n_inf.to(norms.dtype)
    return torch.stack(
        [
            torch.where(known, norms.square(), torch.nan),
            torch.maximum(n_nan, torch.isnan(norms).to(norms.dtype)),
            torch.maximum(n_inf, torch.isinf(norms).to(norms.dtype)),
        ]
    )


def host_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
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


def device_norms(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Norms accumulated in float64 where the device has it."""
    dtype = torch.float32 if tensors[0].device.type == "mps" else torch.float64
    floats = [t if t.dtype.is_floating_point else t.float() for t in tensors]
    if dtype == torch.float32:
        floats = [t.float() for t in floats]
    return list(torch._foreach_norm(floats, 2, dtype))  # noqa: SLF001 - it has no public name


def unsafe(norms: Tensor, sample: Sample) -> list[int]:
    """Tensors whose float32 norm is not finite or not exact; they are on the host already."""
    seen = norms.numpy()
    with np.errstate(invalid="ignore"):
        doubtful = ~((seen >= SAFE_NORM[0]) & (seen <= SAFE_NORM[1]))
    if not doubtful.any():
        return []
    # A norm of zero whose sample is all zero too is what it says: a fresh bias, an unused row.
    n_nonzero = (sample.segments.n_elements - sample.n_zero_with_padding).numpy()
    return [int(i) for i in np.flatnonzero(doubtful & ~((seen == 0) & (n_nonzero == 0)))]


def _read_again(tensor: Tensor, found: Tensor) -> None:
    finite = torch.isfinite(tensor)
    kept = torch.where(finite, tensor, torch.zeros((), dtype=tensor.dtype))
    found[0] = torch.linalg.vector_norm(kept, dtype=torch.float64).square()
    found[1] = torch.isnan(tensor).sum()
    found[2] = torch.isinf(tensor).sum()


STATISTIC = ParameterStatistic(
    id="norm",
    kinds=frozenset({Kind.GRADIENT, Kind.WEIGHT}),
    columns=("sumsq", "n_nan", "n_inf"),
    compute=compute,
)
