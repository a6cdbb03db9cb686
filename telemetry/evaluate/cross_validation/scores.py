"""Scores of a cross-validation as its folds keep them."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from telemetry.compare.settings.repeats import CV_TAG
from telemetry.configuration import nearest
from telemetry.errors import Inconclusive, UsageError
from telemetry.json_values import Json
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import SqlValue, as_float, as_text
from telemetry.store.sessions.session import Session

LATEST = "latest"
MIN_PREFIX = 4  # characters of an id

# Configuration, (repeat, fold), and which of how many inner folds.
Training = tuple[str, tuple[int, int], tuple[int, int] | None]

SCORES_SQL = """
SELECT
    project,
    run,
    cv_id,
    config_id,
    params,
    repeat,
    fold,
    fold_digest,
    n_train,
    n_test,
    metric,
    value,
    status,
    is_holdout,
    inner_fold,
    inner_folds,
    written_at
FROM cv_scores
ORDER BY written_at, project, run, cv_id, config_id, repeat, fold, metric
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoldScore:
    """Score of one configuration on one fold, or on the holdout; NaN where it was lost.

    With `inner` it is of a fold of the examples that a fold trains on: which one, of how many.
    """

    run: Run
    cv_id: str
    config_id: str
    parameters: Mapping[str, Json]
    place: tuple[int, int]
    fold_digest: str
    n_train: float
    n_test: float
    metric: str
    value: float
    status: str
    is_holdout: bool
    written_at: datetime
    inner: tuple[int, int] | None = None

    @property
    def training(self) -> "Training":
        """What tells the training from all others of its cross-validation."""
        return self.config_id, self.place, self.inner

    @property
    def is_of_fold(self) -> bool:
        """Whether it is the score of a fold, by which configurations are compared."""
        return not self.is_holdout and self.inner is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """One configuration of a grid with its scores by (repeat, fold).

    `shared` are the parameters that every configuration has with the same value.
    """

    config_id: str
    parameters: Mapping[str, Json]
    folds: Mapping[tuple[int, int], FoldScore]
    shared: Collection[str] = ()

    @property
    def title(self) -> str:
        """The parameters that tell it from the others, else all."""
        own = {n: value for n, value in self.parameters.items() if n not in self.shared}
        return ", ".join(_settings(own or self.parameters)) or self.config_id

    @property
    def settings(self) -> frozenset[str]:
        """Every parameter as `name=value`."""
        return frozenset(_settings(self.parameters))

    @property
    def lost(self) -> tuple[FoldScore, ...]:
        """Folds that diverged or failed, in order."""
        return tuple(s for _, s in sorted(self.folds.items()) if not math.isfinite(s.value))

    def values(self, places: Sequence[tuple[int, int]]) -> list[float]:
        """Scores on some folds, in their order; NaN where there is none."""
        return [self.folds[p].value if p in self.folds else math.nan for p in places]


def cross_validation_runs(runs: Sequence[Run]) -> list[Run]:
    """Runs that are folds, by their tag."""
    return [run for run in runs if any(tag.startswith(CV_TAG) for tag in run.tags)]


def read_scores(session: Session) -> list[FoldScore]:
    """Every score of the session's runs, the newest last."""
    runs = {(run.ref.project, run.run): run for run in session.runs}
    return [
        FoldScore(
            run=runs[as_text(row["project"]), as_text(row["run"])],
            cv_id=as_text(row["cv_id"]),
            config_id=as_text(row["config_id"]),
            parameters=json.loads(as_text(row["params"])),
            place=(int(as_float(row["repeat"])), int(as_float(row["fold"]))),
            fold_digest=as_text(row["fold_digest"]),
            n_train=as_float(row["n_train"]),
            n_test=as_float(row["n_test"]),
            metric=as_text(row["metric"]),
            value=as_float(row["value"]) if row["status"] == "ok" else math.nan,
            status=as_text(row["status"]),
            is_holdout=row["is_holdout"] is True,
            written_at=written_at,
            inner=_inner(row),
        )
        for row in session.query(SCORES_SQL).records()
        if isinstance(written_at := row["written_at"], datetime)
    ]


def _inner(row: Mapping[str, SqlValue]) -> tuple[int, int] | None:
    if row["inner_fold"] is None:
        return None
    return int(as_float(row["inner_fold"])), int(as_float(row["inner_folds"]))


def scores_of(scores: Sequence[FoldScore], cv_id: str) -> list[FoldScore]:
    """Those of one cross-validation.

    Args:
        scores: All, the newest last.
        cv_id: Its id, at least four characters of its beginning, or `latest`.

    Raises:
        UsageError: there is none, or several begin so.
    """
    ids = list(dict.fromkeys(score.cv_id for score in reversed(scores)))
    if not ids:
        raise UsageError("no cross-validation is stored; start one with `telemetry cv run`.")
    fits = ids[:1] if cv_id == LATEST else [found for found in ids if found == cv_id]
    if not fits and len(cv_id) >= MIN_PREFIX:
        fits = [found for found in ids if found.startswith(cv_id)]
    if len(fits) != 1:
        raise UsageError(
            f"cross-validation {cv_id!r} matches {len(fits)}; {nearest(cv_id, ids)} `latest` is "
            "the newest."
        )
    return newest_scores([score for score in scores if score.cv_id == fits[0]])


def newest_scores(scores: Sequence[FoldScore]) -> list[FoldScore]:
    """Scores of one cross-validation without those of folds that were trained again.

    A fold that failed may have had no name for its scores yet, so that whole runs count.
    """
    newest = {score.training: score.run.run for score in scores}
    return [score for score in scores if newest[score.training] == score.run.run]


def scores_by_metric(scores: Sequence[FoldScore], metric: str | None) -> list[FoldScore]:
    """Those of one metric.

    Raises:
        UsageError: none is named and there are several, or it is unknown.
    """
    names = sorted({score.metric for score in scores})
    if metric is None and len(names) > 1:
        raise UsageError(
            f"the folds have several scores; choose one with --metric: {', '.join(names)}"
        )
    if metric is not None and metric not in names:
        raise UsageError(f"the folds have no score {metric!r}; {nearest(metric, names)}")
    return [score for score in scores if metric in {None, score.metric}]


def configurations(scores: Sequence[FoldScore]) -> list[Configuration]:
    """Scores on folds by configuration, that first scored first.

    A fold scored again counts as last scored; the holdout and inner folds are none.

    Raises:
        Inconclusive: they were scored on different folds, so that nothing is paired.
    """
    if len({score.fold_digest for score in scores}) > 1:
        raise Inconclusive(
            "the configurations were scored on different folds, so they cannot be paired; run "
            "them again with one `telemetry cv run`."
        )
    found: dict[str, list[FoldScore]] = {}
    shared = shared_parameters([score.parameters for score in scores])
    for score in scores:
        if score.is_of_fold:
            found.setdefault(score.config_id, []).append(score)
    return [
        Configuration(
            config_id=config_id,
            parameters=own[0].parameters,
            folds={score.place: score for score in own},
            shared=shared,
        )
        for config_id, own in found.items()
    ]


def shared_parameters(every: Sequence[Mapping[str, Json]]) -> frozenset[str]:
    """Names of the parameters that have one value in all of some configurations."""
    return frozenset(
        name
        for name, value in (every[0] if every else {}).items()
        if all(name in other and other[name] == value for other in every)
    )


def _settings(parameters: Mapping[str, Json]) -> list[str]:
    return [f"{name}={_literal(value)}" for name, value in sorted(parameters.items())]


def _literal(value: Json) -> str:
    if isinstance(value, bool) or value is None:
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)
