"""How much of the runs' order a hyperparameter explains, and whether chance explains it as well.

All on ranks of the metric: a run that exploded is the worst, however large its loss. How the
explained share is measured is the business of an `Explainer`: a random forest (`forest.py`) or rank
correlation (`rank_shares.py`); what is drawn around it, interval and null band, is the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from telemetry.compare.sweep.parameters import Varied

Floats = npt.NDArray[np.float64]

SEED = 20260102
BAND = 0.95  # of the largest share over all parameters under the null: a family-wise level
INTERVAL = (0.025, 0.975)
FEWEST_RUNS = 5
RESIDUAL_DF = 4  # runs that must be left over when strong parameters are taken out


class Explainer(Protocol):
    """Measures which share of the variance of some scores each parameter explains."""

    @property
    def permutations(self) -> int:
        """How many shuffled outcomes make the null band."""
        ...

    @property
    def later_band(self) -> float:
        """Level for what is only visible once the strongest parameters are taken out."""
        ...

    def shares(self, scores: Floats) -> Floats:
        """Explained shares of each row of scores, shape (n_rows, n) to (n_rows, n_parameters)."""
        ...

    def resampled(self, scores: Floats) -> tuple[Floats, Floats]:
        """Shares of one outcome (n,) and of bootstrap resamples of its runs.

        Returns:
            Shapes (n_parameters,) and (n_resamples, n_parameters).
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Share of rank variance in [0, 1], its 95 % interval, and whether it leaves the null band."""

    name: str
    share: float
    low: float
    high: float
    important: bool


def importances(
    parameters: Sequence[Varied], ranks: Floats, explainer: Explainer
) -> list[Importance]:
    """Importance of each parameter, in the given order.

    Args:
        parameters: Varied parameters over n runs.
        ranks: Rank of each run's metric, shape (n,), 1 for the best; ties share their mean.
        explainer: Measures the shares, over the same parameters.
    """
    if not parameters:
        return []
    shares, resampled = explainer.resampled(ranks)
    low, high = np.quantile(resampled, INTERVAL, axis=0) - resampled.mean(axis=0) + shares
    important = _important(parameters, ranks, explainer)
    return [
        Importance(
            name=parameter.name,
            share=float(shares[i]),
            low=float(np.clip(min(low[i], shares[i]), 0, 1)),
            high=float(np.clip(max(high[i], shares[i]), 0, 1)),
            important=parameter.name in important,
        )
        for i, parameter in enumerate(parameters)
    ]


def mean_ranks(values: Floats) -> Floats:
    """Ranks from 1 for the smallest, ties at their mean; shape (n,); NaN ranks last."""
    ordered = np.sort(values)
    low = np.searchsorted(ordered, values, side="left")
    high = np.searchsorted(ordered, values, side="right")
    return np.asarray((low + high + 1) / 2, dtype=np.float64)


def residuals(parameters: Sequence[Varied], scores: Floats) -> Floats | None:
    """What the sum of the effects of some parameters leaves of the scores, shape (n,).

    By least squares over their bins; None where too few runs would be left over.
    """
    columns = sum(len(parameter.labels) - 1 for parameter in parameters)
    if scores.size - columns - 1 < RESIDUAL_DF:
        return None
    if not parameters:
        return np.asarray(scores - scores.mean(), dtype=np.float64)
    design = np.hstack([one_hot(parameter) for parameter in parameters])
    fitted = design @ np.linalg.lstsq(design, scores, rcond=None)[0]
    return np.asarray(scores - fitted, dtype=np.float64)


def one_hot(parameter: Varied) -> Floats:
    """Which bin each run is in, shape (n, n_bins), zeros and ones."""
    return np.asarray(np.eye(len(parameter.labels))[parameter.bins], dtype=np.float64)


def _important(parameters: Sequence[Varied], ranks: Floats, explainer: Explainer) -> set[str]:
    """Names whose share no shuffling of the runs reaches, also after the strongest are taken out.

    Source: Freedman and Lane 1983 for the permutation of residuals.
    """
    if ranks.size < FEWEST_RUNS or np.ptp(ranks) == 0:
        return set()
    generator = np.random.default_rng(SEED)
    everything = np.ones(len(parameters), dtype=np.bool_)
    found = _beyond_band(ranks, explainer, everything, generator, BAND)
    taken = [parameter for parameter, one in zip(parameters, found, strict=True) if one]
    left = residuals(taken, ranks)
    if 0 < len(taken) < len(parameters) and left is not None:
        found |= _beyond_band(left, explainer, ~found, generator, explainer.later_band)
    return {parameter.name for parameter, one in zip(parameters, found, strict=True) if one}


def _beyond_band(
    scores: Floats,
    explainer: Explainer,
    asked: npt.NDArray[np.bool_],
    generator: np.random.Generator,
    band: float,
) -> npt.NDArray[np.bool_]:
    """Which of the parameters asked about explain more than shuffled scores let any of them."""
    shuffled = generator.permuted(np.tile(scores, (explainer.permutations, 1)), axis=1)
    observed = explainer.shares(scores[None, :])[0]
    limit = float(
        np.quantile(explainer.shares(shuffled)[:, asked].max(axis=1), band, method="higher")
    )
    return np.asarray(asked & (observed > limit), dtype=np.bool_)
