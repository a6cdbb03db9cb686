"""Is another configuration better than the one that is used? Paired folds, corrected errors.

from telemetry import Store, evaluate
found = evaluate.crossval.compare(Store.open(), "latest", metric="accuracy")
found.winner.parameters; found.answer
"""

from collections import Counter
from collections.abc import Sequence

from telemetry.compare.terms import Direction
from telemetry.diagnose.diagnose import findings_of
from telemetry.diagnose.finding import Severity
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy
from telemetry.errors import Inconclusive, UsageError
from telemetry.evaluate.cross_validation.nested import nested_score
from telemetry.evaluate.cross_validation.result import Compared, CrossValidation, Standing
from telemetry.evaluate.cross_validation.scores import (
    Configuration,
    FoldScore,
    configurations,
    cross_validation_runs,
    read_scores,
    scores_by_metric,
    scores_of,
)
from telemetry.evaluate.cross_validation.verdicts import (
    goal_of,
    judge_configurations,
    places_of,
    winner,
)
from telemetry.store.store import Store

__all__ = ["Compared", "CrossValidation", "Standing", "compare"]


def compare(
    store: Store,
    cv_id: str,
    *,
    metric: str | None = None,
    goal: Direction | None = None,
    incumbent: str | None = None,
    policy: Policy = DEFAULT_POLICY,
) -> CrossValidation:
    """Hold every configuration of a cross-validation against the incumbent, fold by fold.

    Args:
        store: Where the folds lie, each a run.
        cv_id: Id of the cross-validation, its beginning, or `latest`.
        metric: The score, where there are several.
        goal: Which way of it is better; by its name when None.
        incumbent: Parameters of the configuration that is used, such as `lr=0.1,depth=3`, or its
            id; the configuration scored first when None.
        policy: By which folds that were lost are diagnosed.

    Raises:
        UsageError: there is no such cross-validation, score or configuration.
        Inconclusive: there are fewer than two configurations, or they had different folds.
    """
    runs = cross_validation_runs(store.runs())
    with store.session(runs) as session:
        scores = scores_by_metric(scores_of(read_scores(session), cv_id), metric)
    found = configurations(scores)
    if len(found) < 2:  # noqa: PLR2004 - two are compared
        raise Inconclusive(
            f"the cross-validation has only one configuration, {found[0].title}, so there is "
            "nothing to compare."
        )
    goal = goal or goal_of(scores)
    places = places_of(scores)
    first = _incumbent(found, incumbent)
    judged = judge_configurations(first, found, places, goal)
    best = winner(judged, len(places), goal)
    held = [score for score in scores if score.is_holdout]
    of_best = [score for score in held if best and score.config_id == best.config_id]
    return CrossValidation(
        cv_id=scores[0].cv_id,
        metric=scores[0].metric,
        goal=goal,
        n_folds=len(places),
        configurations=tuple(judged),
        winner=best,
        notes=tuple(_lost_note(store, entry, policy) for entry in judged if entry.n_lost),
        holdout=of_best[0] if of_best else None,
        has_holdout=bool(held),
        nested=nested_score(scores, goal, incumbent=first.config_id),
    )


def _incumbent(found: Sequence[Configuration], wanted: str | None) -> Configuration:
    if wanted is None:
        return found[0]
    pairs = {part.strip() for part in wanted.split(",")}
    fits = [entry for entry in found if entry.config_id == wanted or pairs <= entry.settings]
    if len(fits) != 1:
        there = "; ".join(entry.title for entry in found[:8])
        raise UsageError(f"--incumbent {wanted!r} matches {len(fits)} configurations of: {there}.")
    return fits[0]


def _lost_note(store: Store, entry: Compared, policy: Policy) -> str:
    """What happened to a configuration's lost folds: `lr=0.1: diverged in 3 of 10 folds (...)`."""
    lost = entry.configuration.lost
    how = " and ".join(sorted({score.status for score in lost}))
    causes = _causes(store, lost, policy)
    return f"{entry.configuration.title}: {how} in {len(lost)} of {entry.n_folds} folds{causes}"


def _causes(store: Store, lost: Sequence[FoldScore], policy: Policy) -> str:
    """The most frequent root cause of some folds, with its first step; '' when none is known."""
    steps: dict[str, list[int]] = {}
    counts: Counter[str] = Counter()
    for score in lost:
        for finding in findings_of(store, score.run, policy):
            if finding.consequence_of is None and finding.severity is Severity.ERROR:
                counts[finding.detector] += 1
                if finding.first_step is not None:
                    steps.setdefault(finding.detector, []).append(finding.first_step)
    if not counts:
        return ""
    detector = counts.most_common(1)[0][0]
    since = f" from step {min(steps[detector])}" if detector in steps else ""
    return f" ({detector}{since})"
