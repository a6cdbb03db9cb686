"""Exact sum of squares, NaN and infinity counts of gradients and weights over all elements.

One foreach norm reads each tensor once. It is exact only where float32 holds the squares, and any
NaN or infinity shows in it; tensors for which it does not suffice are read again, which is rare:

- On a CPU, where the host sees the norms at once: counted exactly, sum of squares in float64 over
  the finite elements.
- Where a kernel reads all elements, it gives the same.
- Elsewhere the host must not wait. The norm is accumulated in float64, so nothing overflows or
  vanishes; the sum of squares of a tensor with a NaN or infinity is NULL, and the counts are those
  of the sample, at least 1 where the norm says so.
"""

import numpy as np
import torch

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.statistic import (
    ColumnValues,
    HostPartials,
    ParameterStatistic,
    Partials,
    Sample,
)
from telemetry.capture.tensors.host import on_host
from telemetry.capture.tensors.sample_plan import ROW_LENGTH, FloatArray, RowLayout

# Outside, squares of float32 elements overflow, or lose digits and vanish.
SAFE_NORM = (1e-15, 1e18)


def compute(sample: Sample) -> Partials | None:
    """Norm of each tensor; where the host can look, what is not exact in it is read again."""
    tensors, norms = sample.relations.tensors, sample.relations.tensor_norms
    if norms is None:
        return None
    moments = sample.relations.moments
    if moments is not None:
        return {
            "tensor_norms": norms,
            "tensor_n_nan": moments.of("n_nan"),
            "tensor_n_inf": moments.of("n_inf"),
        }
    if not on_host(sample.values):
        return {"tensor_norms": norms} | sample.non_finite
    norms = norms.clone()
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
    is_of_whole=True,
)
