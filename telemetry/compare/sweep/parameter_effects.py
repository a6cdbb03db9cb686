"""What the parameters of a sweep do: importance, interactions, response curves, best regions."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from telemetry.compare.sweep import forest
from telemetry.compare.sweep.curves import SweepCurves
from telemetry.compare.sweep.effects import Region, best_region, effect
from telemetry.compare.sweep.forest import Forest
from telemetry.compare.sweep.importance import Explainer, Importance, importances
from telemetry.compare.sweep.interactions import PairEffect, interactions
from telemetry.compare.sweep.parameters import Varied, varied_parameters
from telemetry.compare.sweep.rank_shares import RankShares
from telemetry.compare.sweep.result import Interaction, Method, Parameter, SweepRun
from telemetry.compare.sweep.standing import Contestant, standings
from telemetry.compare.terms import Direction

Floats = npt.NDArray[np.float64]
NOT_SEPARABLE = "not separable"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """What is related to the parameters: one row a configuration, or one a run.

    Repetitions of a configuration are averaged: five folds of it are no five samples of its
    parameters, and shuffling them one by one would call chance importance. Only where there are
    fewer configurations than a forest needs does each run stand for itself.

    Attributes:
        parameters: Varied parameters over n rows.
        ranks: Standing of each row among all runs, shape (n,), low is good.
        values: Metric of each row, shape (n,); NaN where every run of it diverged.
    """

    parameters: tuple[Varied, ...]
    ranks: Floats
    values: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighed:
    """How much each parameter explains, and pairs of them together: what takes long to compute."""

    importances: tuple[Importance, ...]
    pairs: tuple[PairEffect, ...]


# Gives what was computed before of the same outcomes, whose hash comes first.
Recall: TypeAlias = Callable[[str, Callable[[], Weighed]], Weighed]


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """The parameters in the order of their names, and what was found about them."""

    method: Method
    parameters: tuple[Parameter, ...]
    regions: tuple[Region, ...]
    interactions: tuple[Interaction, ...]


def outcomes(
    entries: Sequence[SweepRun],
    repeats: Sequence[Sequence[int]],
    curves: SweepCurves,
    goal: Direction,
) -> Outcomes:
    """Ranks and values of the runs that have a value or diverged.

    Args:
        entries: These runs.
        repeats: Positions of those that repeat one configuration, as `grouped` gives them.
        curves: Of the metric.
        goal: Which way is better.
    """
    ranks = standings(
        [
            Contestant(
                curve=curves.values.get(entry.run.key),
                value=entry.value,
                diverged=entry.diverged,
                cut_short=entry.cut_short,
                best_counts=curves.best_counts,
            )
            for entry in entries
        ],
        goal,
    )
    values = np.array(
        [np.nan if e.diverged or e.value is None else e.value for e in entries], dtype=np.float64
    )
    configs = [entry.run.config for entry in entries]
    many = len(repeats) >= forest.FEWEST_RUNS
    groups = [list(places) for places in repeats] if many else [[i] for i in range(len(entries))]
    return Outcomes(
        parameters=tuple(varied_parameters([configs[group[0]] for group in groups])),
        ranks=np.array([ranks[group].mean() for group in groups]),
        values=np.array([_finite_mean(values[group]) for group in groups]),
    )


def judged(found: Outcomes, recall: Recall) -> Judgement:
    """Importance, response curve and best region of each parameter, and the interactions.

    Importance by a forest where scikit-learn is installed and there are enough configurations, else
    by rank correlation.

    Args:
        found: What is related to the parameters.
        recall: Gives what was computed before of the same outcomes.
    """
    use_forest = forest.is_available() and found.ranks.size >= forest.FEWEST_RUNS
    grown = Forest(found.parameters) if use_forest and found.parameters else None
    explainer: Explainer = grown or RankShares(found.parameters)
    regions = tuple(best_region(parameter, found.ranks) for parameter in found.parameters)
    weighed = recall(_identity(found, explainer), lambda: _weighed(found, explainer))
    names = [parameter.name for parameter in found.parameters]
    return Judgement(
        method=Method.FOREST if grown else Method.RANK_CORRELATION,
        parameters=tuple(
            Parameter(
                name=parameter.name,
                importance=share.share,
                ci_low=share.low,
                ci_high=share.high,
                important=share.important,
                best=region.text if share.important else NOT_SEPARABLE,
                effect=effect(parameter, found.values),
                condition=parameter.condition,
            )
            for parameter, share, region in zip(
                found.parameters, weighed.importances, regions, strict=True
            )
        ),
        regions=regions,
        interactions=tuple(
            Interaction(first=names[pair.first], second=names[pair.second], share=pair.share)
            for pair in weighed.pairs
        ),
    )


def _weighed(found: Outcomes, explainer: Explainer) -> Weighed:
    shares = importances(found.parameters, found.ranks, explainer)
    acting = [one for one, share in zip(found.parameters, shares, strict=True) if share.important]
    pairs = interactions(found.parameters, found.ranks, acting)
    return Weighed(importances=tuple(shares), pairs=tuple(pairs))


def _identity(found: Outcomes, explainer: Explainer) -> str:
    """Hash of all that `_weighed` is computed from."""
    digest = hashlib.blake2b(type(explainer).__name__.encode(), digest_size=16)
    digest.update(found.ranks.tobytes())
    for one in found.parameters:
        names = [one.name, one.condition, *one.labels]
        digest.update(json.dumps([names, one.numbers is None]).encode())
        digest.update(one.bins.tobytes())
        digest.update(b"" if one.numbers is None else one.numbers.tobytes())
    return digest.hexdigest()


def _finite_mean(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if finite.size else float("nan")
