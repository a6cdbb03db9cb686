"""Exact sum of squares, NaN and infinity counts of gradients and weights over all elements.

One foreach norm reads each tensor once. It is exact only where float32 holds the squares, and any
NaN or infinity shows in it; tensors for which it does not suffice are read again, which is rare:

- On a CPU, where the host sees the norms at once: counted exactly, sum of squares in float64 over
  the finite elements.
- Elsewhere the host must not wait. The norm is accumulated in float64, so nothing overflows or
  vanishes; the sum of squares of a tensor with a NaN or infinity is NULL, and the counts are those
  of the sample, at least 1 where the norm says so.
"""

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.sample_plan import ROW_LENGTH, FloatArray, RowLayout
from telemetry.capture.statistic import (
    ColumnValues,
    HostPartials,
    Kind,
    ParameterStatistic,
    Partials,
    Sample,
    on_host,
)

# Outside, squares of float32 elements overflow, or lose digits and vanish.
SAFE_NORM = (1e-15, 1e18)
HALF_TYPES = frozenset({torch.float16, torch.bfloat16})


def compute(sample: Sample) -> Partials:
    """Norm of each tensor; where the host can look, what is not exact in it is read again."""
    tensors = list(sample.relations.tensors)
    if not on_host(sample.values):
        return {"tensor_norms": torch.stack(device_norms(tensors))} | sample.non_finite
    norms = torch.stack(host_norms(tensors)).double()
    doubtful = unsafe(norms.numpy(), sample)
    if not doubtful:
        return {"tensor_norms": norms}
    counts = torch.zeros_like(norms).repeat(2, 1)
    for i in doubtful:
        finite = torch.isfinite(tensors[i])
        kept = tensors[i].masked_fill(~finite, 0)
        norms[i] = torch.linalg.vector_norm(kept, dtype=torch.float64)
        counts[0, i] = torch.isnan(tensors[i]).sum()
        counts[1, i] = torch.isinf(tensors[i]).sum()
    return {"tensor_norms": norms, "tensor_n_nan": counts[0], "tensor_n_inf": counts[1]}


def finish(partials: HostPartials, layout: RowLayout) -> tuple[ColumnValues, ...]:
    """Columns sumsq, n_nan, n_inf."""
    norms = partials["tensor_norms"].astype(np.float64)
    none = np.zeros(len(norms))
    if "n_nan" in partials and "tensor_n_nan" not in partials and not np.isfinite(norms).all():
        n_nan = np.maximum(layout.total(partials["n_nan"]), np.isnan(norms))
        n_inf = np.maximum(layout.total(partials["n_inf"]), np.isinf(norms))
        return np.where(np.isfinite(norms), norms**2, np.nan), n_nan, n_inf
    n_nan = partials.get("tensor_n_nan", none)
    n_inf = partials.get("tensor_n_inf", none)
    return norms**2, n_nan.astype(np.float64), n_inf.astype(np.float64)


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


def unsafe(norms: FloatArray, sample: Sample) -> list[int]:
    """Tensors whose float32 norm is not finite or not exact."""
    with np.errstate(invalid="ignore"):
        doubtful = ~((norms >= SAFE_NORM[0]) & (norms <= SAFE_NORM[1]))
    if not doubtful.any():
        return []
    # A norm of zero whose sample is all zero too is what it says: a fresh bias, an unused row.
    layout = sample.segments.layout
    is_zero = layout.total(sample.zeros.numpy()) == layout.n_rows_each * ROW_LENGTH
    return [int(i) for i in np.flatnonzero(doubtful & ~((norms == 0) & is_zero))]


STATISTIC = ParameterStatistic(
    id="norm",
    kinds=frozenset({Kind.GRADIENT, Kind.WEIGHT}),
    columns=("sumsq", "n_nan", "n_inf"),
    compute=compute,
    finish=finish,
)
