"""From scores over folds to verdicts: each configuration against the incumbent, and the winner."""

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from telemetry.compare.statistics.folds import fold_estimate
from telemetry.compare.statistics.student import t_quantile
from telemetry.compare.statistics.verdicts import holm
from telemetry.compare.terms import Direction
from telemetry.evaluate.cross_validation.result import Compared, Standing
from telemetry.evaluate.cross_validation.scores import (
    Configuration,
    FoldScore,
    configurations,
    scores_by_metric,
)
from telemetry.evaluate.statistics.paired import mcnemar_p
from telemetry.metric_direction import higher_is_better

ALPHA = 0.05
MIN_FOLDS = 2


def choose(
    scores: Sequence[FoldScore],
    *,
    metric: str | None = None,
    goal: Direction | None = None,
    incumbent: str | None = None,
) -> Configuration | None:
    """The configuration that `telemetry.evaluate.cross_validation.comparison.compare` takes.

    Args:
        scores: Of one cross-validation, one fold's newest only.
        metric: The score, where there are several.
        goal: Which way of it is better; by its name when None.
        incumbent: Id of the configuration that is used; the one scored first when None.

    Returns:
        None where no configuration finished every fold.

    Raises:
        UsageError: no metric is named and there are several, or it is unknown.
    """
    scores = scores_by_metric(scores, metric)
    goal = goal or goal_of(scores)
    found, places = configurations(scores), places_of(scores)
    first = next((entry for entry in found if entry.config_id == incumbent), found[0])
    return winner(judge_configurations(first, found, places, goal), len(places), goal)


def goal_of(scores: Sequence[FoldScore]) -> Direction:
    """Which way of a score is better, by its name."""
    return Direction.HIGHER if higher_is_better(scores[0].metric) else Direction.LOWER


def places_of(scores: Sequence[FoldScore]) -> list[tuple[int, int]]:
    """Every fold that some configuration was scored on, as (repeat, fold)."""
    return sorted({score.place for score in scores if score.is_of_fold})


def judge_configurations(
    first: Configuration,
    every: Sequence[Configuration],
    places: Sequence[tuple[int, int]],
    goal: Direction,
) -> list[Compared]:
    """The incumbent, then every other configuration against it, the best first.

    Args:
        first: The incumbent.
        every: All of them; the incumbent may be among them.
        places: Every fold as (repeat, fold).
        goal: Which way of the score is better.
    """
    base = replace(_blank(first, places, goal), verdict=Standing.INCUMBENT)
    rest = [entry for entry in every if entry.config_id != first.config_id]
    compared = [_against(base, _blank(entry, places, goal), places) for entry in rest]
    tested = [place for place, entry in enumerate(compared) if not math.isnan(entry.p)]
    for place, p in zip(tested, holm([compared[i].p for i in tested]), strict=True):
        compared[place] = _with_verdict(replace(compared[place], p=p), goal)
    sign = -1 if goal is Direction.HIGHER else 1
    return [base, *sorted(compared, key=lambda entry: sign * entry.mean)]


def _blank(
    configuration: Configuration, places: Sequence[tuple[int, int]], goal: Direction
) -> Compared:
    values = configuration.values([place for place in places if place in configuration.folds])
    kept = [value for value in values if math.isfinite(value)]
    mean_kept = math.fsum(kept) / len(kept) if kept else math.nan
    worst = -math.inf if goal is Direction.HIGHER else math.inf
    return Compared(
        configuration=configuration,
        n_folds=len(values),
        n_lost=len(values) - len(kept),
        mean=mean_kept if len(kept) == len(values) else worst,
        mean_kept=mean_kept,
    )


def _against(base: Compared, entry: Compared, places: Sequence[tuple[int, int]]) -> Compared:
    """A configuration with its difference to the incumbent, where there is one."""
    n_missing = [len(places) - one.n_folds for one in (base, entry)]
    if any(n_missing):
        reason = (
            f"{max(n_missing)} of {len(places)} folds are missing; `telemetry cv run` trains them"
        )
        return replace(entry, reason=reason)
    if base.n_lost or entry.n_lost:
        return _by_losses(base, entry, places)
    if len(places) < MIN_FOLDS:
        return replace(entry, reason="one fold has no spread")
    difference = np.array(entry.configuration.values(places)) - np.array(
        base.configuration.values(places)
    )
    scores = [*base.configuration.folds.values(), *entry.configuration.folds.values()]
    estimate = fold_estimate(
        difference,
        n_train=float(np.mean([score.n_train for score in scores])),
        n_test=float(np.mean([score.n_test for score in scores])),
    )
    low, high = estimate.interval()
    return replace(
        entry,
        difference=estimate.difference,
        error=estimate.standard_error,
        ci_low=low,
        ci_high=high,
        p=min(1.0, 2 * min(estimate.p_not_above(0.0), estimate.p_not_below(0.0))),
        detectable=t_quantile(1 - ALPHA / 2, estimate.df) * estimate.standard_error,
    )


def _by_losses(base: Compared, entry: Compared, places: Sequence[tuple[int, int]]) -> Compared:
    """Lost folds are never dropped: with any, the losses themselves are compared."""
    lost = [np.isnan(one.configuration.values(places)) for one in (base, entry)]
    n_base_only, n_entry_only = int((lost[0] & ~lost[1]).sum()), int((lost[1] & ~lost[0]).sum())
    reason = f"lost {entry.n_lost} of {len(places)} folds, the incumbent {base.n_lost}"
    verdict = Standing.INCONCLUSIVE
    if mcnemar_p(n_base_only, n_entry_only) <= ALPHA:
        verdict = Standing.WORSE if n_entry_only > n_base_only else Standing.BETTER
    return replace(entry, verdict=verdict, reason=reason)


def _with_verdict(entry: Compared, goal: Direction) -> Compared:
    if entry.p > ALPHA:
        return replace(
            entry, verdict=Standing.NO_DIFFERENCE, reason="within the variation between folds"
        )
    is_better = (entry.difference > 0) == (goal is Direction.HIGHER)
    verdict = Standing.BETTER if is_better else Standing.WORSE
    return replace(entry, verdict=verdict, reason="larger than the variation between folds")


def winner(judged: Sequence[Compared], n_folds: int, goal: Direction) -> Configuration | None:
    """The best that finished every fold, unless the incumbent is within its standard error.

    Source: Breiman et al., Classification and Regression Trees, 1984, section 3.4.3.
    """
    whole = [entry for entry in judged if entry.n_folds == n_folds and not entry.n_lost]
    if not whole:
        return None
    sign = 1 if goal is Direction.HIGHER else -1
    best = max(whole, key=lambda entry: sign * entry.mean)
    incumbent = judged[0]
    if incumbent in whole and not sign * best.difference > best.error:
        return incumbent.configuration
    return best.configuration
