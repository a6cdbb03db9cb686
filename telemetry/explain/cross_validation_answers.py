"""What `telemetry cv run` answers: which folds were trained, and what each configuration scored."""

import json
import statistics
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from telemetry.cv_request import CrossValidateRequest
from telemetry.errors import UsageError
from telemetry.evaluate.scores import Configuration, FoldScore
from telemetry.explain.cross_validation import (
    Configured,
    CrossValidated,
    as_training,
    cross_validate,
)
from telemetry.explain.entry_points import application_path, resolve
from telemetry.explain.evaluation import Progress
from telemetry.explain.fold_training import FAILED, OK
from telemetry.json_values import Json


def answer_cross_validation(request: CrossValidateRequest, progress: Progress) -> dict[str, Json]:
    """The answer to a request, once every fold has been tried.

    Raises:
        UsageError: an entry point is not what it must be, or nothing can be made of the numbers.
    """
    with application_path(Path(request.app_dir)):
        found = cross_validate(
            as_training(resolve(request.entry, "training")),
            json.loads(request.params),
            fixed=json.loads(request.fixed),
            n=request.n,
            labels=_values(request.labels, "labels"),
            groups=_values(request.groups, "groups"),
            folds=request.folds,
            repeats=request.repeats,
            seed=request.seed,
            jobs=request.jobs,
            store=request.store,
            project=request.project,
            progress=progress,
        )
    return _document(found, request)


def _values(entry: str | None, what: str) -> Iterable[int | float | str] | None:
    """The values that an entry point names, or that the function it names returns.

    Raises:
        UsageError: it cannot be imported, raises, or has no values.
    """
    if entry is None:
        return None
    named = resolve(entry, what)
    try:
        found = named() if callable(named) else named
    except Exception as error:  # the user's code may raise anything
        raise UsageError(f"{what} {entry}: {type(error).__name__}: {error}.") from error
    if not isinstance(found, Iterable) or isinstance(found, str):
        raise UsageError(
            f"{what} {entry} gives a {type(found).__name__}, expected one value for each example."
        )
    return found


def _document(found: CrossValidated, request: CrossValidateRequest) -> dict[str, Json]:
    fixed = json.loads(request.fixed)
    configurations = [_configuration(entry, found, fixed) for entry in found.configurations]
    return {
        "verb": request.verb,
        "cv_id": found.cv_id,
        "entry": request.entry,
        "fold_digest": found.folds.digest,
        "examples": found.folds.n_examples,
        "folds": request.folds,
        "repeats": request.repeats,
        "seed": request.seed,
        "stratified": request.labels is not None,
        "grouped": request.groups is not None,
        "trained": found.n_trained,
        "kept": found.n_kept,
        "metrics": sorted({s.metric for entry in found.configurations for s in entry.scores}),
        "configurations": configurations,
        "notes": list(found.folds.notes),
    }


def _configuration(
    entry: Configured, found: CrossValidated, fixed: Collection[str]
) -> dict[str, Json]:
    by_place: dict[tuple[int, int], list[FoldScore]] = {}
    for score in entry.scores:
        by_place.setdefault(score.place, []).append(score)
    statuses = [own[0].status for own in by_place.values()]
    return {
        "config_id": entry.config_id,
        "title": _title(entry, fixed),
        "parameters": entry.parameters,
        "lost": sum(status != OK for status in statuses),
        "failed": sum(status == FAILED for status in statuses),
        "means": _means(entry.scores),
        "folds": [
            {
                "repeat": place[0],
                "fold": place[1],
                "run": own[0].run.run,
                "status": own[0].status,
                "scores": {score.metric: score.value for score in own if score.status == OK},
                "error": found.errors.get((entry.config_id, place)),
            }
            for place, own in sorted(by_place.items())
        ],
    }


def _title(entry: Configured, fixed: Collection[str]) -> str:
    """The parameters by which it differs from others, else all."""
    own = {name: value for name, value in entry.parameters.items() if name not in fixed}
    return Configuration(
        config_id=entry.config_id, parameters=own or entry.parameters, folds={}
    ).title


def _means(scores: Iterable[FoldScore]) -> Mapping[str, Json]:
    """Mean of each score over the folds that were not lost."""
    values: dict[str, list[float]] = {}
    for score in scores:
        if score.status == OK:
            values.setdefault(score.metric, []).append(score.value)
    return {metric: statistics.fmean(own) for metric, own in sorted(values.items())}
