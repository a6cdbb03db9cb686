"""Log2 histogram of gradients and weights, read from the exponent bits.

`bits >> 23` of a float32 is its sign and exponent field: no range has to be known in advance. The
512 counters per tensor are folded to 64 bins on the writer thread.
"""

import numpy as np
import torch
from torch import Tensor

from telemetry import histograms
from telemetry.capture.statistic import ColumnValues, Kind, ParameterStatistic, ResultArray, Sample

MANTISSA_BITS = 23
HALF_FIELDS = histograms.N_FIELDS // 2


def compute(sample: Sample) -> Tensor:
    """Counts per field, shape (n_segments, 512), int32: negative fields first, zeros removed."""
    segments = sample.segments
    n_fields = histograms.N_FIELDS * len(segments)
    if sample.values.dtype == torch.float32:
        fields = sample.workspace.integers
        torch.bitwise_right_shift(sample.values.view(torch.int32), MANTISSA_BITS, out=fields)
    else:
        fields = sample.values.float().view(torch.int32) >> MANTISSA_BITS
    # The shift keeps the sign, so negative values have fields -256..-1.
    first = torch.arange(
        HALF_FIELDS, n_fields, histograms.N_FIELDS, dtype=torch.int32, device=segments.device
    )
    fields.add_(segments.spread(first))
    counts = count(fields.view(-1), n_fields).view(len(segments), histograms.N_FIELDS)
    counts[:, HALF_FIELDS] -= sample.n_zero_with_padding.to(torch.int32)
    return counts


def count(fields: Tensor, n_fields: int) -> Tensor:
    """How often each of 0..n_fields - 1 occurs, int32, shape (n_fields,)."""
    if fields.device.type == "cpu":
        return torch.bincount(fields, minlength=n_fields).to(torch.int32)
    # bincount asks an accelerator for the largest value, which waits for it.
    ones = torch.ones((), dtype=torch.int32, device=fields.device).expand(len(fields))
    counts = torch.zeros(n_fields, dtype=torch.int32, device=fields.device)
    return counts.scatter_add_(0, fields.long(), ones)


def finish(result: ResultArray) -> tuple[ColumnValues, ...]:
    """Columns hist_exp and hist; NULL where no element is finite and not zero."""
    fields = np.roll(result.astype(np.int64), HALF_FIELDS, axis=1)
    exponents, counts = histograms.fold(fields)
    filled = counts.any(axis=1)
    codes = histograms.encode_counts(counts)
    blobs = [row.tobytes() if any_ else None for row, any_ in zip(codes, filled, strict=True)]
    return np.where(filled, exponents, np.nan), blobs


STATISTIC = ParameterStatistic(
    id="histogram",
    kinds=frozenset({Kind.GRADIENT, Kind.WEIGHT}),
    columns=("hist_exp", "hist"),
    compute=compute,
    finish=finish,
)
