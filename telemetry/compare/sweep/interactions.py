"""Pairs of parameters that matter together: what their cells explain beyond the sum of both.

By least squares on few coarse bins, not by the trees: a tree takes one parameter at a time, and two
that only matter together give its first split nothing to go by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from telemetry.compare.sweep.importance import RESIDUAL_DF, SEED, Floats, residuals
from telemetry.compare.sweep.parameters import Varied

COARSE_BINS = 3  # of numbers; a pair has nine cells at most where both are numbers
PERMUTATIONS = 1_000
BAND = 0.95  # of the largest share over all pairs under the null
FEWEST_RUNS = 16
RANK_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class PairEffect:
    """Two parameters, by position, and the share of the variance that is theirs together alone."""

    first: int
    second: int
    share: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Basis:
    """Orthonormal columns (n, k) of the sum of both effects, and of the cells."""

    pair: tuple[int, int]
    additive: Floats
    cells: Floats


def interactions(
    parameters: Sequence[Varied], scores: Floats, acting: Sequence[Varied]
) -> list[PairEffect]:
    """Pairs whose cells explain more than chance gives to any pair, the strongest first.

    Args:
        parameters: Varied parameters over n runs.
        scores: One outcome, shape (n,).
        acting: Those with a main effect, which is taken out first.

    Source: Freedman and Lane 1983 for the permutation of residuals.
    """
    left = residuals(acting, scores) if scores.size >= FEWEST_RUNS else None
    if left is None or float(np.var(left)) <= RANK_TOLERANCE:
        return []
    bases = [_basis(parameters, pair) for pair in combinations(range(len(parameters)), 2)]
    bases = [one for one in bases if one.cells.shape[1] > one.additive.shape[1]]
    bases = [one for one in bases if scores.size - one.cells.shape[1] >= RESIDUAL_DF]
    if not bases:
        return []
    generator = np.random.default_rng(SEED)
    shuffled = generator.permuted(np.tile(left, (PERMUTATIONS, 1)), axis=1)
    null = np.max([_shares(one, shuffled) for one in bases], axis=0)
    limit = float(np.quantile(null, BAND, method="higher"))
    of_all = float(np.var(left) / np.var(scores))
    found = [(one.pair, float(_shares(one, left[None, :])[0])) for one in bases]
    pairs = [
        PairEffect(first=pair[0], second=pair[1], share=min(share * of_all, 1.0))
        for pair, share in found
        if share > limit
    ]
    return sorted(pairs, key=lambda pair: -pair.share)


def _shares(basis: _Basis, scores: Floats) -> Floats:
    """Share of each row that the cells explain beyond the sum, less what chance explains."""
    n, n_cells = basis.cells.shape
    total = np.maximum((scores**2).sum(axis=1), RANK_TOLERANCE)
    by_cells = ((scores @ basis.cells) ** 2).sum(axis=1)
    by_sum = ((scores @ basis.additive) ** 2).sum(axis=1)
    by_chance = (n_cells - basis.additive.shape[1]) / (n - n_cells) * (total - by_cells)
    return np.asarray(np.clip((by_cells - by_sum - by_chance) / total, 0, 1), dtype=np.float64)


def _basis(parameters: Sequence[Varied], pair: tuple[int, int]) -> _Basis:
    """Of a parameter that another one switches on, being off is that one's doing.

    So what its switch does together with the other parameter of the pair counts as explained.
    """
    left, right = (_coarse(parameters[i]) for i in pair)
    switches = [
        _products(_switch(parameters[i]), other)
        for i, other in zip(pair, (right, left), strict=True)
        if parameters[i].condition
    ]
    return _Basis(
        pair=pair,
        additive=_orthonormal(np.hstack([left, right, *switches])),
        cells=_orthonormal(_products(left, right)),
    )


def _products(left: Floats, right: Floats) -> Floats:
    """A column for each two columns, shape (n, k_left * k_right)."""
    return (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)


def _switch(parameter: Varied) -> Floats:
    return np.stack([parameter.is_set, ~parameter.is_set], axis=1).astype(np.float64)


def _coarse(parameter: Varied) -> Floats:
    """One column a group of neighbouring ranges, of about equal size, and one a text."""
    n_ranges = parameter.n_ranges
    counts = np.bincount(parameter.bins, minlength=len(parameter.labels))
    below = np.cumsum(counts[:n_ranges]) - counts[:n_ranges] / 2
    n_numbers = max(int(counts[:n_ranges].sum()), 1)
    groups = np.arange(len(parameter.labels)) + COARSE_BINS
    groups[:n_ranges] = np.minimum(COARSE_BINS * below / n_numbers, COARSE_BINS - 1).astype(int)
    _, place = np.unique(groups[parameter.bins], return_inverse=True)
    return np.asarray(np.eye(int(place.max()) + 1)[place], dtype=np.float64)


def _orthonormal(columns: Floats) -> Floats:
    """An orthonormal basis of the columns, shape (n, rank)."""
    vectors, values, _ = np.linalg.svd(columns, full_matrices=False)
    return np.asarray(vectors[:, values > RANK_TOLERANCE * values[0]], dtype=np.float64)
