"""Cross-validation: every configuration on the same folds with the same seeds, each fold a run.

from telemetry import explain
found = explain.cross_validate(train_and_score, {"lr": [0.1, 0.01]}, labels=labels)
found.cv_id  # for `evaluate.crossval.compare` and `telemetry cv compare`
"""

import hashlib
import inspect
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from telemetry.capture.configured_store import configured_store
from telemetry.cv_request import PROJECT, TRAINING
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.evaluate.parameter_grid import checked_grid
from telemetry.evaluate.scores import FoldScore
from telemetry.explain.evaluation import Progress
from telemetry.explain.fold_scores import ScoreKeeper, is_settled, looked_through, stored_scores
from telemetry.explain.fold_training import OK, FoldTask, TrainAndScore
from telemetry.explain.fold_workers import train_in_parallel
from telemetry.explain.folds import Folds, make_folds
from telemetry.json_values import Json


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
        configurations: Those of the grid, in its order.
        n_trained: Folds that were trained now.
        n_kept: Folds that had a score before.
        errors: What went wrong in folds that were trained now, by configuration and place.
    """

    cv_id: str
    entry: str
    folds: Folds
    configurations: tuple[Configured, ...]
    n_trained: int
    n_kept: int
    errors: Mapping[tuple[str, tuple[int, int]], str]


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
        jobs: Processes that train at the same time.
        store: Folder of runs; as that of TelemetryCallback.
        project: Project of the runs.
        progress: Told how many folds are done, of how many.

    Raises:
        UsageError: the function, the grid or the examples are not what they must be.
        StoreUnreadable: the disk refuses.
    """
    as_training(train_and_score)
    if jobs < 1:
        raise UsageError(f"jobs={jobs}; at least one process trains.")
    if os.environ.get("TELEMETRY_DISABLED", "") not in {"", "0"}:
        raise UsageError("a fold is a run, but recording is off; unset TELEMETRY_DISABLED.")
    grid = checked_grid(params, fixed or {}, source="the grid").configurations
    parted = make_folds(
        n=n,
        labels=None if labels is None else _as_list(labels),
        groups=None if groups is None else _as_list(groups),
        folds=folds,
        repeats=repeats,
        seed=seed,
    )
    where = Path(store) if store else configured_store()
    entry = f"{_name_of(train_and_score, '__module__')}:{_name_of(train_and_score, '__qualname__')}"
    cv_id = _digest([entry, _code_digest(train_and_score), parted.digest])[:12]
    tasks = [
        FoldTask(
            cv_id=cv_id,
            config_id=_digest(parameters)[:8],
            parameters=parameters,
            fold=fold,
            store=where.absolute(),
            project=project,
        )
        for fold in parted.folds  # folds outside: what is there can be compared at any time
        for parameters in grid
    ]
    stored = stored_scores(where, cv_id)
    settled = {(score.config_id, score.place) for score in stored if is_settled(score)}
    missing = [task for task in tasks if (task.config_id, task.fold.place) not in settled]
    _make_writable(where)
    errors = _train(train_and_score, missing, _keeper(stored, tasks, parted), jobs, progress)
    scores = stored_scores(where, cv_id)
    return CrossValidated(
        cv_id=cv_id,
        entry=entry,
        folds=parted,
        configurations=tuple(_configured(parameters, scores) for parameters in grid),
        n_trained=len(missing),
        n_kept=len(tasks) - len(missing),
        errors=errors,
    )


def _make_writable(store: Path) -> None:
    """Make the folder of runs before hours of training go to it.

    Raises:
        StoreUnreadable: it cannot be written.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreUnreadable(f"{store}: cannot be made ({error.strerror}).") from error
    if not os.access(store, os.W_OK):
        raise StoreUnreadable(f"{store}: runs cannot be written there; check its permissions.")


def _train(
    train_and_score: TrainAndScore,
    tasks: Sequence[FoldTask],
    keeper: ScoreKeeper,
    jobs: int,
    progress: Progress,
) -> dict[tuple[str, tuple[int, int]], str]:
    """Train the folds and publish their scores; what went wrong, by configuration and place."""
    errors = {}
    progress(0, len(tasks))
    try:
        outcomes = train_in_parallel(train_and_score, tasks, jobs=jobs)
        for done, (task, raw) in enumerate(outcomes, start=1):
            outcome = keeper.add(task, looked_through(task, raw))
            if outcome.error:
                errors[task.config_id, task.fold.place] = outcome.error
            progress(done, len(tasks))
    finally:  # Ctrl-C as well: what was trained counts
        keeper.flush()
    return errors


def _keeper(stored: Sequence[FoldScore], tasks: Sequence[FoldTask], parted: Folds) -> ScoreKeeper:
    return ScoreKeeper(
        digest=parted.digest,
        incumbent=tasks[0].config_id,
        metrics=tuple(sorted({score.metric for score in stored if score.status == OK})),
        is_open=bool(stored),
    )


def _configured(parameters: Mapping[str, Json], scores: Sequence[FoldScore]) -> Configured:
    config_id = _digest(parameters)[:8]
    own = [score for score in scores if score.config_id == config_id]
    return Configured(
        config_id=config_id,
        parameters=parameters,
        scores=tuple(sorted(own, key=lambda score: (score.place, score.metric))),
    )


def as_training(train_and_score: object) -> TrainAndScore:
    """What can be called as a training is.

    Raises:
        UsageError: it cannot.
    """
    if not callable(train_and_score):
        raise UsageError(
            f"{train_and_score!r} cannot be called; the training is a function {TRAINING}."
        )
    try:
        inspect.signature(train_and_score).bind({}, (), (), 0, None)
    except TypeError as error:
        name = _name_of(train_and_score, "__qualname__")
        raise UsageError(f"{name} does not fit {TRAINING}: {error}.") from error
    except ValueError:  # it does not tell its parameters: the call will show
        pass
    return cast("TrainAndScore", train_and_score)


def _as_list(values: Iterable[int | float | str]) -> list[int | float | str]:
    """Plain values, of tensors and arrays too.

    Raises:
        UsageError: they are not one value for each example.
    """
    found = values.tolist() if hasattr(values, "tolist") else list(values)
    if not isinstance(found, list) or not all(
        isinstance(value, int | float | str) for value in found
    ):
        raise UsageError("labels and groups are one number or text for each example.")
    return found


def _name_of(train_and_score: object, attribute: str) -> str:
    return str(getattr(train_and_score, attribute, type(train_and_score).__name__))


def _code_digest(train_and_score: object) -> str:
    """Digest of the file that defines the training: scores of other code are not paired with it."""
    named = train_and_score if inspect.isfunction(train_and_score) else type(train_and_score)
    try:
        path = inspect.getsourcefile(named)
        return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else ""
    except (TypeError, OSError):  # typed at a prompt
        return ""


def _digest(value: Json) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
