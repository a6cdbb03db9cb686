"""Cross-validation: every configuration on the same folds with the same seeds, each fold a run.

from telemetry import explain
found = explain.cross_validate(train_and_score, {"lr": [0.1, 0.01]}, labels=labels)
found.cv_id  # for `evaluate.crossval.compare` and `telemetry cv compare`
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from telemetry.capture.configured_store import configured_store
from telemetry.compare.terms import Direction
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.evaluate.cross_validation.nested_result import Nested
from telemetry.evaluate.cross_validation.parameter_grid import checked_grid
from telemetry.evaluate.cross_validation.scores import FoldScore, Training
from telemetry.explain.folds.folds import Folds, make_folds
from telemetry.explain.folds.plan import (
    FoldPlan,
    as_training,
    config_id,
    make_plan,
    plain_values,
)
from telemetry.explain.folds.runs import FoldRuns
from telemetry.explain.folds.scores import stored_scores
from telemetry.explain.folds.training import FAILED, TrainAndScore
from telemetry.explain.progress import Progress
from telemetry.json_values import Json
from telemetry.requests.cv import PROJECT


@dataclass(frozen=True, slots=True, kw_only=True)
class Configured:
    """One configuration of the grid with its scores, stored before or now."""

    config_id: str
    parameters: Mapping[str, Json]
    scores: tuple[FoldScore, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossValidated:
    """What a cross-validation has done.

    Attributes:
        cv_id: Its id; equal for equal code, folds and seeds, so that a grid can be extended.
        entry: The function that was called.
        folds: The folds.
        configurations: Those of the grid, in its order, with their scores on the folds.
        n_trained: Folds that were trained now.
        n_kept: Folds that had a score before.
        errors: What went wrong in folds that were trained now.
        holdout: The winner with its scores on the holdout; None where it has none.
        nested: What the choice itself scores; None without inner folds.
        n_inner_failed: Trainings in inner folds that failed; the next call tries them again.
        notes: What a reader must know.
    """

    cv_id: str
    entry: str
    folds: Folds
    configurations: tuple[Configured, ...]
    n_trained: int
    n_kept: int
    errors: Mapping[Training, str]
    holdout: Configured | None = None
    nested: Nested | None = None
    n_inner_failed: int = 0
    notes: tuple[str, ...] = ()


def cross_validate(  # noqa: PLR0913 - the one place where a user states everything
    train_and_score: TrainAndScore,
    params: Mapping[str, Sequence[Json]],
    *,
    fixed: Mapping[str, Json] | None = None,
    n: int | None = None,
    labels: Iterable[int | float | str] | None = None,
    groups: Iterable[int | float | str] | None = None,
    folds: int = 5,
    repeats: int = 2,
    seed: int = 0,
    holdout: float | None = None,
    nested: int | None = None,
    metric: str | None = None,
    goal: Direction | None = None,
    jobs: int = 1,
    store: str | os.PathLike[str] | None = None,
    project: str = PROJECT,
    progress: Progress = lambda _done, _of: None,
) -> CrossValidated:
    """Train and score every configuration on every fold that has no score yet.

    `train_and_score(params, train_idx, test_idx, seed, callback)` trains on some examples and
    returns the score on the others, or several by name. It makes its TelemetryCallback by
    `callback(model, optimizer)`. A training that ends without a finite loss or score has diverged;
    one that raises has failed, and is tried again by the next call.

    Args:
        train_and_score: The training; with several jobs a function of a module.
        params: Values of each parameter; the first configuration is the incumbent.
        fixed: Parameters that all configurations share.
        n: Examples there are; None: as many as labels or groups.
        labels: Class of each example: every fold gets its share of each.
        groups: Group of each example: none is split between training and scoring.
        folds: Folds a repetition.
        repeats: Repetitions, each with folds of its own.
        seed: Of the folds; the trainings count on from it.
        holdout: Share of the examples that no fold gets. The winner of the folds is trained on all
            others and scored there, once.
        nested: Inner folds by which, for each fold, a configuration is chosen that the fold then
            judges: what choosing scores on examples that it did not see. Every configuration is
            trained that many times more for each fold: 5 folds twice with 3 inner ones are 40
            trainings a configuration instead of 10.
        metric: The score by which is chosen, where there are several.
        goal: Which way of it is better; by its name when None.
        jobs: Processes that train at the same time.
        store: Folder of runs; as that of TelemetryCallback.
        project: Project of the runs.
        progress: Told how many trainings are done, of how many.

    Raises:
        UsageError: the function, the grid or the examples are not what they must be.
        StoreUnreadable: the disk refuses.
    """
    _check(train_and_score, jobs)
    grid = checked_grid(params, fixed or {}, source="the grid").configurations
    parted = make_folds(
        n=n,
        labels=plain_values(labels),
        groups=plain_values(groups),
        folds=folds,
        repeats=repeats,
        seed=seed,
        holdout=holdout,
        nested=nested,
    )
    where = Path(store) if store else configured_store()
    plan = make_plan(train_and_score, grid, parted, where, project)
    _make_writable(plan.store)
    runs = FoldRuns(train_and_score, plan, jobs, progress)
    n_trained = runs.train_folds()
    choice, unjudged = runs.judge_choice(metric, goal)
    notes = (*parted.notes, *unjudged, *runs.score_winner(metric, goal))
    return _result(plan, n_trained, runs, choice, notes)


def _check(train_and_score: object, jobs: int) -> None:
    """Refuse what could not be trained or recorded.

    Raises:
        UsageError: that is so.
    """
    as_training(train_and_score)
    if jobs < 1:
        raise UsageError(f"jobs={jobs}: at least one process is needed.")
    if os.environ.get("TELEMETRY_DISABLED", "") not in {"", "0"}:
        raise UsageError(
            "every fold is recorded as a run, but recording is off; unset TELEMETRY_DISABLED."
        )


def _make_writable(store: Path) -> None:
    """Make the folder of runs before hours of training go to it.

    Raises:
        StoreUnreadable: it cannot be written.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnreadable(
            f"{store}: the folder cannot be created ({error.strerror})."
        ) from error
    if not os.access(store, os.W_OK):
        raise StoreUnreadable(f"{store}: runs cannot be written there; check its permissions.")


def _result(
    plan: FoldPlan, n_trained: int, runs: FoldRuns, choice: Nested | None, notes: tuple[str, ...]
) -> CrossValidated:
    scores = stored_scores(plan.store, plan.cv_id)
    of_folds = [score for score in scores if score.is_of_fold]
    tasks = {task.training for task in plan.tasks()}
    failed = {s.training for s in scores if s.inner and s.status == FAILED} & tasks
    of_holdout = [score for score in scores if score.is_holdout]
    return CrossValidated(
        cv_id=plan.cv_id,
        entry=plan.entry,
        folds=plan.parted,
        configurations=tuple(_configured(parameters, of_folds) for parameters in plan.grid),
        n_trained=n_trained,
        n_kept=len(tasks) - n_trained,
        errors=runs.errors,
        holdout=_configured(runs.winner.parameters, of_holdout) if runs.winner else None,
        nested=choice,
        n_inner_failed=len(failed),
        notes=notes,
    )


def _configured(parameters: Mapping[str, Json], scores: Sequence[FoldScore]) -> Configured:
    own = [score for score in scores if score.config_id == config_id(parameters)]
    return Configured(
        config_id=config_id(parameters),
        parameters=parameters,
        scores=tuple(sorted(own, key=lambda score: (score.place, score.metric))),
    )
