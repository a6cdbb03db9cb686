"""What a choice among configurations is worth: each fold judges a choice that did not see it.

The winner of some folds was chosen by them, so that its score there is too good. Here the examples
that a fold trains on are parted into inner folds, a configuration is chosen by these alone, and its
score on the fold itself counts.

Source: Varma and Simon, Bias in error estimation when using cross-validation for model selection,
BMC Bioinformatics 2006.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from telemetry.compare.statistics.folds import fold_estimate
from telemetry.compare.terms import Direction
from telemetry.evaluate.cross_validation.nested_result import Choice, Nested
from telemetry.evaluate.cross_validation.scores import Configuration, FoldScore, configurations
from telemetry.evaluate.cross_validation.verdicts import choose, places_of


def nested_score(
    scores: Sequence[FoldScore],
    goal: Direction,
    *,
    incumbent: str | None = None,
    inner_folds: int | None = None,
) -> Nested | None:
    """What the choice among the configurations scores on folds that it did not see.

    Args:
        scores: Of one metric of one cross-validation, one training's newest only.
        goal: Which way of the metric is better.
        incumbent: Id of the configuration that is used; the one scored first when None.
        inner_folds: By how many folds is chosen; those trained last when None.

    Returns:
        None where nothing was trained in inner folds.
    """
    inner = [(score, score.inner) for score in scores if score.inner is not None]
    if not inner:
        return None
    n_inner = inner_folds or max(inner, key=lambda entry: entry[0].written_at)[1][1]
    own = [
        # As if the folds within were all there are.
        (score.place, replace(score, place=(0, which), inner=None))
        for score, (which, of) in inner
        if of == n_inner
    ]
    found, places = configurations(scores), places_of(scores)
    metric = scores[0].metric
    n_wanted = len(found) * len(places) * (n_inner + 1)
    n_missing = n_wanted - len(own) - sum(len(entry.folds) for entry in found)
    if n_missing:
        return Nested(metric=metric, inner_folds=n_inner, n_missing=n_missing)
    first = incumbent or found[0].config_id
    choices = tuple(
        _choice(place, [score for at, score in own if at == place], found, goal, first)
        for place in places
    )
    nested = Nested(metric=metric, inner_folds=n_inner, n_missing=0, choices=choices)
    return _with_interval(nested, goal)


def _choice(
    place: tuple[int, int],
    inner: Sequence[FoldScore],
    found: Sequence[Configuration],
    goal: Direction,
    incumbent: str,
) -> Choice:
    chosen = choose(inner, goal=goal, incumbent=incumbent)
    if chosen is None:
        return Choice(place=place, configuration=None, score=None)
    outer = next(entry for entry in found if entry.config_id == chosen.config_id)
    return Choice(place=place, configuration=outer, score=outer.folds[place])


def _with_interval(nested: Nested, goal: Direction) -> Nested:
    """The same with the mean over folds, which is the worst possible where a fold was lost."""
    if nested.n_lost:
        return replace(nested, mean=-math.inf if goal is Direction.HIGHER else math.inf)
    scores = [choice.score for choice in nested.choices if choice.score]
    estimate = fold_estimate(
        np.array([score.value for score in scores]),
        n_train=float(np.mean([score.n_train for score in scores])),
        n_test=float(np.mean([score.n_test for score in scores])),
    )
    low, high = estimate.interval()
    return replace(nested, mean=estimate.difference, ci_low=low, ci_high=high)
