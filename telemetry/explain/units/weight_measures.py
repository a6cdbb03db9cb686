"""Measures of a matrix of weights, one row an output. Pure functions of tensors."""

import torch
from torch import Tensor

DEAD = 1e-3  # of the median norm of the rows
TWIN = 0.99  # cosine from which two rows are the same feature
CHUNK = 1024
SEQUENCE_KERNELS = 3  # dimensions: out, in, length


def effective_rank(matrix: Tensor) -> float:
    """Exponential of the entropy of the singular values; 0 for a matrix of zeros.

    Args:
        matrix: Shape (rows, columns), finite.

    Source: Roy and Vetterli 2007, The effective rank.
    """
    tall = matrix.double() if len(matrix) >= matrix.shape[1] else matrix.double().T
    values = torch.linalg.eigvalsh(tall.T @ tall).clamp_min(0).sqrt()  # the singular values
    total = float(values.sum())
    if total == 0:
        return 0.0
    shares = values[values > 0] / total
    return float((-(shares * shares.log()).sum()).exp())


def dead_rows(norms: Tensor) -> tuple[int, ...]:
    """Rows whose norm is below a thousandth of the median."""
    return tuple((norms <= DEAD * norms.median()).nonzero()[:, 0].tolist())


def twin_rows(matrix: Tensor, norms: Tensor) -> tuple[tuple[int, int], ...]:
    """Pairs (i, j), i < j, of rows whose cosine is above 0.99; dead rows are left out."""
    alive = norms > DEAD * norms.median()
    unit = torch.where(alive[:, None], matrix / norms.clamp_min(1e-30)[:, None], 0.0)
    found: list[tuple[int, int]] = []
    for start in range(0, len(unit), CHUNK):
        close = (unit[start : start + CHUNK] @ unit.T) > TWIN
        pairs = close.nonzero().tolist()
        found += [(start + i, j) for i, j in pairs if start + i < j]
    return tuple(found)


def smoothness(kernels: Tensor) -> float:
    """Correlation of neighbours in kernels, around zero; random kernels have 0.

    Args:
        kernels: Shape (out, in, height, width), or (out, in, length).
    """
    if kernels.dim() == SEQUENCE_KERNELS:
        kernels = kernels[:, :, None]
    right = (kernels[..., 1:], kernels[..., :-1])
    below = (kernels[..., 1:, :], kernels[..., :-1, :])
    product = sum(float((a * b).sum()) for a, b in (right, below))
    size = sum(float((a**2 + b**2).sum()) / 2 for a, b in (right, below))
    return product / size if size > 0 else 0.0


def octaves(weight: Tensor) -> dict[int, int]:
    """How many weights have a magnitude from 2^e up to 2^(e+1), by e; zeros are left out."""
    magnitudes = weight.abs().flatten()
    exponents = torch.frexp(magnitudes[magnitudes > 0]).exponent - 1
    values, counts = torch.unique(exponents, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
