"""How much of the runs' order a hyperparameter explains, and whether chance explains it as well.

All on ranks of the metric: a run that exploded is the worst, however large its loss. Two shares of
the rank variance are computed and the larger counts: Spearman's squared correlation, which is
strong on a trend, and the adjusted share between bins, which also sees an optimum in the middle.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.compare.parameters import Varied

Floats = npt.NDArray[np.float64]

SEED = 20260102
PERMUTATIONS = 1_000
RESAMPLES = 500
BAND = 0.95  # of the largest share over all parameters under the null: a family-wise level
LATER_BAND = 0.99  # for what is only visible once the strongest parameters are taken out
INTERVAL = (0.025, 0.975)
FEWEST_RUNS = 5
NO_SPREAD = 1e-9  # of ranks, whose variance is at least 1/12 where any two differ
RESIDUAL_DF = 4  # runs that must be left over when strong parameters are taken out


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Share of rank variance in [0, 1], its 95 % interval, and whether it leaves the null band."""

    name: str
    share: float
    low: float
    high: float
    important: bool


def importances(parameters: Sequence[Varied], ranks: Floats) -> list[Importance]:
    """Importance of each parameter, in the given order.

    Args:
        parameters: Varied parameters over n runs.
        ranks: Rank of each run's metric, shape (n,), 1 for the best; ties share their mean.
    """
    if not parameters:
        return []
    generator = np.random.default_rng(SEED)
    weights = generator.multinomial(
        ranks.size, np.full(ranks.size, 1 / ranks.size), size=RESAMPLES
    ).astype(np.float64)
    important = _important(parameters, ranks, generator)
    found: list[Importance] = []
    for parameter in parameters:
        share = float(shares(parameter, ranks[None, :])[0])
        resampled = _resampled(parameter, ranks, weights)
        low, high = np.quantile(resampled, INTERVAL) - resampled.mean() + share
        found.append(
            Importance(
                name=parameter.name,
                share=share,
                low=float(np.clip(min(low, share), 0, 1)),
                high=float(np.clip(max(high, share), 0, 1)),
                important=parameter.name in important,
            )
        )
    return found


def mean_ranks(values: Floats) -> Floats:
    """Ranks from 1 for the smallest, ties at their mean; shape (n,); NaN ranks last."""
    ordered = np.sort(values)
    low = np.searchsorted(ordered, values, side="left")
    high = np.searchsorted(ordered, values, side="right")
    return np.asarray((low + high + 1) / 2, dtype=np.float64)


def shares(parameter: Varied, ranks: Floats) -> Floats:
    """Explained share for each row of ranks, shape (n_rows, n) to (n_rows,)."""
    centred = ranks - ranks.mean(axis=1, keepdims=True)
    total = np.maximum((centred**2).sum(axis=1), NO_SPREAD)
    one_hot = _one_hot(parameter)
    between = ((centred @ one_hot) ** 2 / one_hot.sum(axis=0)).sum(axis=1) / total
    n, k = one_hot.shape
    best = 1 - (1 - between) * (n - 1) / max(n - k, 1) if n > k else np.zeros(len(ranks))
    if parameter.numbers is not None:
        x = mean_ranks(parameter.numbers)
        x -= x.mean()
        best = np.maximum(best, (centred @ x) ** 2 / (total * (x @ x)))
    return np.asarray(np.clip(best, 0, 1), dtype=np.float64)


def _important(
    parameters: Sequence[Varied], ranks: Floats, generator: np.random.Generator
) -> set[str]:
    """Names whose share no shuffling of the runs reaches, also after the strongest are taken out.

    Source: Freedman and Lane 1983 for the permutation of residuals.
    """
    if ranks.size < FEWEST_RUNS or np.ptp(ranks) == 0:
        return set()
    found = _beyond_band(parameters, ranks, generator, BAND)
    taken = [parameter for parameter in parameters if parameter.name in found]
    columns = sum(len(parameter.labels) - 1 for parameter in taken)
    rest = [parameter for parameter in parameters if parameter.name not in found]
    if taken and rest and ranks.size - columns - 1 >= RESIDUAL_DF:
        design = np.hstack([_one_hot(parameter) for parameter in taken])
        fitted = design @ np.linalg.lstsq(design, ranks, rcond=None)[0]
        found |= _beyond_band(rest, ranks - fitted, generator, LATER_BAND)
    return found


def _beyond_band(
    parameters: Sequence[Varied], scores: Floats, generator: np.random.Generator, band: float
) -> set[str]:
    shuffled = generator.permuted(np.tile(scores, (PERMUTATIONS, 1)), axis=1)
    null = np.max([shares(parameter, shuffled) for parameter in parameters], axis=0)
    limit = float(np.quantile(null, band, method="higher"))
    return {p.name for p in parameters if float(shares(p, scores[None, :])[0]) > limit}


def _resampled(parameter: Varied, ranks: Floats, weights: Floats) -> Floats:
    """Explained share in each bootstrap resample of the runs, given as counts (n_resamples, n)."""
    n = ranks.size
    one_hot = _one_hot(parameter)
    mean = weights @ ranks / n
    total = np.maximum(weights @ ranks**2 / n - mean**2, NO_SPREAD)
    sizes = weights @ one_hot
    sums = weights @ (one_hot * ranks[:, None])
    filled = np.divide(sums**2, sizes, out=np.zeros_like(sums), where=sizes > 0)
    between = (filled.sum(axis=1) / n - mean**2) / total
    k = (sizes > 0).sum(axis=1)
    best = 1 - (1 - between) * (n - 1) / np.maximum(n - k, 1)
    if parameter.numbers is not None:
        x = mean_ranks(parameter.numbers)
        x_mean = weights @ x / n
        spread = np.maximum(weights @ x**2 / n - x_mean**2, NO_SPREAD)
        best = np.maximum(best, (weights @ (x * ranks) / n - x_mean * mean) ** 2 / (total * spread))
    return np.asarray(np.clip(best, 0, 1), dtype=np.float64)


def _one_hot(parameter: Varied) -> Floats:
    return np.asarray(np.eye(len(parameter.labels))[parameter.bins], dtype=np.float64)
