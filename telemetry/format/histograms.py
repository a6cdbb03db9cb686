"""The 64-byte log2 histogram of `tensor_stats.hist`: fold, encode, decode, merge, quantiles.

Counts over 512 float32 exponent fields (sign bit and 8-bit exponent) are folded into 31 octaves
per sign below the largest exponent E, plus one underflow bin per sign, and stored as u8 log codes.
Byte i along the real line: 0..30 hold negative values with floor(log2|x|) = E - i, 31 the negative
and 32 the positive underflow (0 < |x| < 2^(E-30)), 33..63 positive values with
floor(log2 x) = E - (63 - i). Zeros and non-finite values are counted elsewhere.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
CodeArray = npt.NDArray[np.uint8]

N_FIELDS = 512
N_BINS = 64
N_OCTAVES = 31
EXPONENT_BIAS = 127
NON_FINITE_FIELD = 255
CODES_PER_OCTAVE = 8
MAX_CODE = 255
SMALLEST_NORMAL = 2.0**-126  # of float32

_codes = np.arange(256)
DECODE_TABLE: IntArray = np.where(
    _codes == 0, 0, np.round(2.0 ** ((_codes - 1) / CODES_PER_OCTAVE))
).astype(np.int64)


def encode_counts(counts: IntArray) -> CodeArray:
    """Log codes of counts: q(0) = 0, q(c) = min(255, 1 + round(8 log2 c)); exact up to 13."""
    codes = 1 + np.round(CODES_PER_OCTAVE * np.log2(np.maximum(counts, 1)))
    return np.where(counts > 0, np.minimum(codes, MAX_CODE), 0).astype(np.uint8)


def decode_counts(codes: CodeArray) -> IntArray:
    """Counts of log codes; within 7.1 % of the count, within 4.5 % from 100 on."""
    return DECODE_TABLE[codes]


def fold(fields: IntArray) -> tuple[IntArray, IntArray]:
    """Windows of 64 bins from counts per float32 exponent field.

    Args:
        fields: Counts over `bits >> 23`, shape (n_tensors, 512); zeros must not be counted in
            fields 0 and 256, which hold subnormals.

    Returns:
        exponent: Largest exponent with a finite non-zero value, shape (n_tensors,); meaningless
            where the window is empty.
        counts: Shape (n_tensors, 64).
    """
    positive = fields[:, :NON_FINITE_FIELD]
    negative = fields[:, N_FIELDS // 2 : N_FIELDS // 2 + NON_FINITE_FIELD]
    either = positive + negative
    last = NON_FINITE_FIELD - 1 - np.argmax(either[:, ::-1] > 0, axis=1)
    # A tensor of subnormals alone has its mass in the underflow bins of the smallest window.
    top = np.maximum(last, 1)
    columns = top[:, None] - np.arange(N_OCTAVES)[None, :]
    inside = columns >= 1
    columns = np.maximum(columns, 0)
    counts = np.zeros((len(fields), N_BINS), dtype=np.int64)
    for sign, values in ((-1, negative), (1, positive)):
        octaves = np.where(inside, np.take_along_axis(values, columns, axis=1), 0)
        underflow = values.sum(axis=1) - octaves.sum(axis=1)
        if sign < 0:
            counts[:, :N_OCTAVES] = octaves
            counts[:, N_OCTAVES] = underflow
        else:
            counts[:, N_OCTAVES + 2 :] = octaves[:, ::-1]
            counts[:, N_OCTAVES + 1] = underflow
    return top - EXPONENT_BIAS, counts


def fields_of(values: npt.NDArray[np.float32]) -> IntArray:
    """Counts per exponent field of finite non-zero values, shape (512,); the slow reference."""
    flat = np.ascontiguousarray(values, dtype=np.float32).ravel()
    flat = flat[np.isfinite(flat) & (flat != 0)]
    return np.bincount(flat.view(np.uint32) >> 23, minlength=N_FIELDS).astype(np.int64)


def merge(windows: Sequence[tuple[int, IntArray]]) -> tuple[int, IntArray]:
    """Sum of windows (exponent, counts of shape (64,)) on the largest exponent."""
    top = max(exponent for exponent, _ in windows)
    total = np.zeros(N_BINS, dtype=np.int64)
    for exponent, counts in windows:
        total += shift(counts, top - exponent)
    return top, total


def shift(counts: IntArray, octaves: int) -> IntArray:
    """The same counts in a window whose largest exponent is `octaves` higher."""
    moved = min(octaves, N_OCTAVES)
    result = np.zeros_like(counts)
    kept = N_OCTAVES - moved
    result[moved:N_OCTAVES] = counts[:kept]
    result[N_OCTAVES] = counts[kept : N_OCTAVES + 1].sum()
    result[N_OCTAVES + 2 : N_OCTAVES + 2 + kept] = counts[N_OCTAVES + 2 + moved :]
    result[N_OCTAVES + 1] = counts[N_OCTAVES + 1 : N_OCTAVES + 2 + moved].sum()
    return result


def bin_edges(exponent: int) -> tuple[FloatArray, FloatArray]:
    """Lower and upper edge of each bin along the real line, shape (64,) each."""
    octaves = exponent - np.arange(N_OCTAVES, dtype=np.float64)
    # Subnormals are never in an octave: field 0 goes into the underflow of any window.
    floor = max(2.0 ** (exponent - N_OCTAVES + 1), SMALLEST_NORMAL)
    low = np.concatenate([-(2.0 ** (octaves + 1)), [-floor, 0.0], 2.0 ** octaves[::-1]])
    high = np.concatenate([-(2.0**octaves), [0.0, floor], 2.0 ** (octaves[::-1] + 1)])
    return low, high


def quantiles(
    exponent: int,
    counts: IntArray,
    *,
    n_zero: int,
    bounds: tuple[float, float],
    probabilities: FloatArray,
) -> FloatArray:
    """Quantiles of a histogram, linear inside a bin, clamped to the exact minimum and maximum.

    Args:
        exponent: Largest exponent of the window.
        counts: Decoded counts, shape (64,).
        n_zero: Exact zeros, which lie between the two underflow bins.
        bounds: Smallest and largest value.
        probabilities: In [0, 1], shape (n_quantiles,).

    Returns:
        Shape (n_quantiles,); NaN when nothing was counted.
    """
    low, high = bin_edges(exponent)
    low = np.insert(low, N_OCTAVES + 1, 0.0)
    high = np.insert(high, N_OCTAVES + 1, 0.0)
    mass = np.insert(counts.astype(np.float64), N_OCTAVES + 1, float(n_zero))
    total = mass.sum()
    if total == 0:
        return np.full(len(probabilities), np.nan)
    cumulative = np.cumsum(mass)
    target = np.clip(probabilities, 0.0, 1.0) * total
    index = np.minimum(np.searchsorted(cumulative, target, side="left"), len(mass) - 1)
    index = np.where(mass[index] == 0, np.argmax(mass > 0), index)
    start = np.clip(low[index], *bounds)
    stop = np.clip(high[index], *bounds)
    share = (target - (cumulative[index] - mass[index])) / mass[index]
    return np.asarray(start + (stop - start) * share, dtype=np.float64)
