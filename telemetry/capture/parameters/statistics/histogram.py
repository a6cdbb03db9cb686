"""Log2 histogram of gradients and weights, read from the exponent bits.

`bits >> 23` of a float32 is its sign and exponent field: no range has to be known in advance. The
512 counters per tensor are folded to 64 bins on the writer thread. A kernel that reads all elements
counts the same way.
"""

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.catalogue.packet import Kind
from telemetry.capture.parameters.statistic import (
    ColumnValues,
    HostPartials,
    ParameterStatistic,
    Partials,
    Sample,
)
from telemetry.capture.tensors.host import on_host
from telemetry.capture.tensors.sample_plan import IntArray, RowLayout
from telemetry.format import histograms

MANTISSA_BITS = 23
HALF_FIELDS = histograms.N_FIELDS // 2


def compute(sample: Sample) -> Partials:
    """Counts per field, shape (n_tensors * 512,), int32: for each tensor negative fields first."""
    moments = sample.relations.moments
    if moments is not None and moments.fields is not None:
        return {"whole_fields": moments.fields}
    if sample.values.dtype == torch.float32:
        fields = sample.workspace.integers
        torch.bitwise_right_shift(sample.values.view(torch.int32), MANTISSA_BITS, out=fields)
    else:
        fields = sample.values.float().view(torch.int32) >> MANTISSA_BITS
    # The shift keeps the sign, so negative values have fields -256..-1.
    fields.add_(sample.segments.first_fields)
    counts = count(fields.view(-1), histograms.N_FIELDS * len(sample.segments))
    return {"fields": counts, "zeros": sample.zeros}


def count(fields: Tensor, n_fields: int) -> Tensor:
    """How often each of 0..n_fields - 1 occurs, int32, shape (n_fields,)."""
    if on_host(fields):
        return torch.bincount(fields, minlength=n_fields).to(torch.int32)
    # bincount asks an accelerator for the largest value, which waits for it.
    ones = torch.ones((), dtype=torch.int32, device=fields.device).expand(len(fields))
    counts = torch.zeros(n_fields, dtype=torch.int32, device=fields.device)
    return counts.scatter_add_(0, fields.long(), ones)


def finish(partials: HostPartials, layout: RowLayout) -> tuple[ColumnValues, ...]:
    """Columns hist_exp and hist; NULL where no element is finite and not zero."""
    if "whole_fields" in partials:
        return _encoded(partials["whole_fields"].astype(np.int64))
    fields = partials["fields"].astype(np.int64).reshape(len(layout), histograms.N_FIELDS)
    fields = np.roll(fields, HALF_FIELDS, axis=1)
    # Subnormals share a field with the zeros of their sign. Zeros are known in number, not in sign:
    # what is left is exact unless a tensor holds negative zeros and subnormals both.
    n_zero = layout.total(partials["zeros"]).astype(np.int64)
    n_subnormal = fields[:, 0] + fields[:, HALF_FIELDS] - n_zero
    fields[:, HALF_FIELDS] = np.minimum(fields[:, HALF_FIELDS], n_subnormal)
    fields[:, 0] = n_subnormal - fields[:, HALF_FIELDS]
    return _encoded(fields)


def _encoded(fields: IntArray) -> tuple[ColumnValues, ...]:
    exponents, counts = histograms.fold(fields)
    is_filled = counts.sum(axis=1) > 0
    codes = histograms.encode_counts(counts)
    blobs = [
        row.tobytes() if filled else None for row, filled in zip(codes, is_filled, strict=True)
    ]
    return np.where(is_filled, exponents, np.nan), blobs


STATISTIC = ParameterStatistic(
    id="histogram",
    kinds=frozenset({Kind.GRADIENT, Kind.WEIGHT}),
    columns=("hist_exp", "hist"),
    compute=compute,
    finish=finish,
)
