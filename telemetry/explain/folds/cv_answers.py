"""What `telemetry cv run` answers: which folds were trained, and what each configuration scored."""

import json
import statistics
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from telemetry.compare.terms import Direction
from telemetry.errors import UsageError
from telemetry.evaluate.cross_validation.scores import Configuration, FoldScore, shared_parameters
from telemetry.explain.folds.cross_validation import Configured, CrossValidated, cross_validate
from telemetry.explain.folds.plan import as_training
from telemetry.explain.folds.training import FAILED, OK
from telemetry.explain.models.entry_points import application_path, resolve
from telemetry.explain.names import kind_of
from telemetry.explain.progress import Progress
from telemetry.json_values import Json
from telemetry.requests.cv import KIND, CrossValidateRequest


def answer(request: CrossValidateRequest, progress: Progress) -> dict[str, Json]:
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
            holdout=request.holdout,
            nested=request.nested,
            metric=request.metric,
            goal=None if request.goal is None else Direction(request.goal),
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
            f"{what} {entry} gives {kind_of(found)}, expected one value for each example."
        )
    return found


def _document(found: CrossValidated, request: CrossValidateRequest) -> dict[str, Json]:
    shared = shared_parameters([entry.parameters for entry in found.configurations])
    configurations = [_configuration(entry, found, shared) for entry in found.configurations]
    return {
        "verb": KIND.verb,
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
        "holdout": None if found.holdout is None else _held_out(found.holdout, found, shared),
        "nested": None if found.nested is None else _nested(found),
        "notes": list(found.notes),
    }


def _configuration(
    entry: Configured, found: CrossValidated, shared: Collection[str]
) -> dict[str, Json]:
    by_place: dict[tuple[int, int], list[FoldScore]] = {}
    for score in entry.scores:
        by_place.setdefault(score.place, []).append(score)
    statuses = [own[0].status for own in by_place.values()]
    return {
        **_named(entry, shared),
        "lost": sum(status != OK for status in statuses),
        "failed": sum(status == FAILED for status in statuses),
        "means": _means(entry.scores),
        "folds": [
            {"repeat": place[0], "fold": place[1], **_trained(own, found)}
            for place, own in sorted(by_place.items())
        ],
    }


def _held_out(entry: Configured, found: CrossValidated, shared: Collection[str]) -> dict[str, Json]:
    """The winner on the examples that no fold has."""
    n_examples = int(entry.scores[0].n_test)
    return {**_named(entry, shared), "examples": n_examples, **_trained(entry.scores, found)}


def _nested(found: CrossValidated) -> dict[str, Json]:
    """What the choice scores, and what failed in the folds by which it was made."""
    errors = [error for (_, _, inner), error in found.errors.items() if inner is not None]
    return {
        **(found.nested.to_json() if found.nested else {}),
        "failed": found.n_inner_failed,
        "error": errors[0] if errors else None,
    }


def _named(entry: Configured, shared: Collection[str]) -> dict[str, Json]:
    return {
        "config_id": entry.config_id,
        "title": Configuration(
            config_id=entry.config_id, parameters=entry.parameters, folds={}, shared=shared
        ).title,
        "parameters": entry.parameters,
    }


def _trained(scores: Sequence[FoldScore], found: CrossValidated) -> dict[str, Json]:
    """What became of one training, by its scores."""
    first = scores[0]
    return {
        "run": first.run.run,
        "status": first.status,
        "scores": {score.metric: score.value for score in scores if score.status == OK},
        "error": found.errors.get(first.training),
    }


def _means(scores: Iterable[FoldScore]) -> Mapping[str, Json]:
    """Mean of each score over the folds that were not lost."""
    values: dict[str, list[float]] = {}
    for score in scores:
        if score.status == OK:
            values.setdefault(score.metric, []).append(score.value)
    return {metric: statistics.fmean(own) for metric, own in sorted(values.items())}
