"""Explained shares by rank correlation: what importance rests on without scikit-learn.

Two shares of the variance are computed and the larger counts: Spearman's squared correlation, which
is strong on a trend, and the adjusted share between bins, which also sees an optimum in the middle.
"""

from collections.abc import Sequence

import numpy as np

from telemetry.compare.sweep.importance import SEED, Floats, mean_ranks, one_hot
from telemetry.compare.sweep.parameters import Varied

PERMUTATIONS = 1_000
RESAMPLES = 500
LATER_BAND = 0.99  # residuals of a least-squares fit leave chance a little more than its share
NO_SPREAD = 1e-9  # of ranks, whose variance is at least 1/12 where any two differ


class RankShares:
    """Shares of each parameter alone; what another one explains is not taken out."""

    permutations = PERMUTATIONS
    later_band = LATER_BAND

    def __init__(self, parameters: Sequence[Varied]) -> None:
        self._parameters = tuple(parameters)

    def shares(self, scores: Floats) -> Floats:
        """Explained shares, shape (n_rows, n) to (n_rows, n_parameters)."""
        weights = np.ones((1, scores.shape[1]))
        return np.stack([_shares(one, scores, weights) for one in self._parameters], axis=1)

    def resampled(self, scores: Floats) -> tuple[Floats, Floats]:
        """Shares of one outcome and of 500 resamples of its runs."""
        n = scores.size
        generator = np.random.default_rng(SEED)
        weights = generator.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(np.float64)
        resamples = [_shares(one, scores[None, :], weights) for one in self._parameters]
        return self.shares(scores[None, :])[0], np.stack(resamples, axis=1)


def _shares(parameter: Varied, scores: Floats, weights: Floats) -> Floats:
    """Explained share of each row of scores, or of each row of weights where there are several.

    Of a parameter that another one switches on, only what its values explain while it is set.
    """
    mean = _weighted(weights, scores)
    centred = scores - mean[:, None]
    total = np.maximum(_weighted(weights, centred**2), NO_SPREAD)
    columns = one_hot(parameter)
    between, n_bins = _between(columns, centred, weights)
    n_groups, switched = np.ones_like(n_bins), np.zeros_like(between)
    if parameter.condition:
        switch = np.stack([parameter.is_set, ~parameter.is_set], axis=1).astype(np.float64)
        switched, n_groups = _between(switch, centred, weights)
    left = np.maximum(weights.shape[1] - n_bins, 1)
    by_chance = (n_bins - n_groups) / left * (total - between)
    best = np.where(n_bins < weights.shape[1], between - switched - by_chance, 0.0)
    if parameter.numbers is not None:
        best = np.maximum(best, _trend(parameter.numbers, centred, weights))
    return np.asarray(np.clip(best / total, 0, 1), dtype=np.float64)


def _weighted(weights: Floats, scores: Floats) -> Floats:
    """Mean of each row; rows of weights and of scores are paired or one of them is single."""
    return np.asarray((weights * scores).sum(axis=1) / weights.shape[1], dtype=np.float64)


def _between(columns: Floats, centred: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """Variance between the groups of a one-hot matrix (n, k), and how many groups have runs."""
    sizes = np.broadcast_to(weights @ columns, (max(len(weights), len(centred)), columns.shape[1]))
    sums = (weights * centred) @ columns
    filled = np.divide(sums**2, sizes, out=np.zeros_like(sums), where=sizes > 0)
    return filled.sum(axis=1) / weights.shape[1], (sizes > 0).sum(axis=1).astype(np.float64)


def _trend(numbers: Floats, centred: Floats, weights: Floats) -> Floats:
    """Variance explained by a straight line over the ranks of the numbers that are set."""
    inside = np.isfinite(numbers)
    x = mean_ranks(numbers[inside])
    w, y = weights[:, inside], centred[:, inside]
    count = np.maximum(w.sum(axis=1), 1)
    x_off = x - ((w * x).sum(axis=1) / count)[:, None]
    y_off = y - ((w * y).sum(axis=1) / count)[:, None]
    spread = np.maximum((w * x_off**2).sum(axis=1), NO_SPREAD)
    return np.asarray((w * x_off * y_off).sum(axis=1) ** 2 / spread / weights.shape[1])
