"""Which folds have a score already, and rows of `cv_scores` for those that get one."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from telemetry.compare.settings.repeats import CV_TAG
from telemetry.errors import StoreUnreadable
from telemetry.evaluate.cross_validation.scores import FoldScore, newest_scores, read_scores
from telemetry.explain.folds.training import (
    DIVERGED,
    FAILED,
    OK,
    SCORE,
    FoldCallback,
    FoldTask,
    Outcome,
)
from telemetry.format.manifest import Status
from telemetry.format.shards import table_folder
from telemetry.store.results import append_once
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import as_float
from telemetry.store.sessions.session import Session
from telemetry.store.store import Store

LAST_LOSS_SQL = """
SELECT
    loss
FROM steps
WHERE loss IS NOT NULL
ORDER BY step DESC
LIMIT 1
"""


def stored_scores(store: Path, cv_id: str) -> list[FoldScore]:
    """Scores that a cross-validation has, one fold's newest only; empty where there is no store."""
    try:
        runs = [run for run in Store.open(store).runs() if f"{CV_TAG}{cv_id}" in run.tags]
    except StoreUnreadable:
        return []
    if not runs:
        return []
    with Store(store).session(runs) as session:
        return newest_scores([score for score in read_scores(session) if score.cv_id == cv_id])


def is_settled(score: FoldScore) -> bool:
    """Whether the fold needs no other training; one that failed gets another chance."""
    return score.status != FAILED


def looked_through(task: FoldTask, outcome: Outcome) -> Outcome:
    """The outcome with a run in any case, and as diverged where the last loss is no number."""
    if outcome.run is None:
        return Outcome(run=_run_left_by(task), status=FAILED, error=outcome.error)
    if outcome.status == OK and not math.isfinite(_last_loss(outcome.run)):
        return Outcome(run=outcome.run, status=DIVERGED, error="the last loss is not finite")
    return outcome


@dataclass(slots=True)
class ScoreKeeper:
    """Publishes scores as rows of their runs.

    Lost folds wait until the names of the scores are known, and all wait for the configuration
    that comes first: who is scored first is the incumbent.

    Attributes:
        digest: Of the folds.
        incumbent: Id of the configuration that comes first.
        metrics: Names of the scores as far as they are known.
        is_open: Whether the incumbent has a score.
        held: Outcomes that wait.
    """

    digest: str
    incumbent: str
    metrics: tuple[str, ...]
    is_open: bool
    held: list[tuple[FoldTask, Outcome]] = field(default_factory=list)

    def add(self, task: FoldTask, outcome: Outcome) -> Outcome:
        """Keep an outcome; it has failed if its scores have other names than those before."""
        if outcome.status == OK and self.metrics and set(outcome.values) != set(self.metrics):
            other = f"it returned {_names(outcome.values)}, other folds {_names(self.metrics)}"
            outcome = Outcome(run=outcome.run, status=FAILED, error=other)
        if outcome.status == OK:
            self.metrics = self.metrics or tuple(outcome.values)
        self.is_open = self.is_open or task.config_id == self.incumbent
        self.held.append((task, outcome))
        if self.metrics and self.is_open:
            self.flush()
        return outcome

    def flush(self) -> None:
        """Publish what waits.

        Raises:
            StoreUnreadable: the disk refuses.
        """
        held = sorted(self.held, key=lambda entry: entry[0].config_id != self.incumbent)
        for task, outcome in held:
            rows = _rows(task, outcome, self.metrics or (SCORE,), self.digest)
            if outcome.run is not None:
                append_once(outcome.run, "cv_scores", rows, identity="cv_id")
        self.held.clear()


def _rows(
    task: FoldTask, outcome: Outcome, metrics: Sequence[str], digest: str
) -> list[dict[str, object]]:
    fold = task.fold
    moment = datetime.now(UTC).replace(tzinfo=None)
    return [
        {
            "cv_id": task.cv_id,
            "config_id": task.config_id,
            "params": json.dumps(task.parameters),
            "repeat": fold.repeat,
            "fold": fold.fold,
            "seed": fold.seed,
            "fold_digest": digest,
            "n_train": len(fold.train_idx),
            "n_test": len(fold.test_idx),
            "metric": metric,
            "value": outcome.values[metric] if outcome.status == OK else None,
            "status": outcome.status,
            "written_at": moment,
            "is_holdout": fold.is_holdout,
            "inner_fold": None if fold.inner is None else fold.inner[0],
            "inner_folds": None if fold.inner is None else fold.inner[1],
        }
        for metric in metrics
    ]


def _run_left_by(task: FoldTask) -> Path:
    """Folder of the run of a process that died; one made now if it had none yet."""
    for run in Store(task.store).runs() if task.store.is_dir() else ():
        if _is_of(run, task) and run.status is not Status.FINISHED:
            return run.ref.path
    return FoldCallback(task).end(RuntimeError("the process died"))


def _is_of(run: Run, task: FoldTask) -> bool:
    has_scores = table_folder(run.ref.path, "cv_scores", 0).exists()
    is_same = set(task.tags) <= set(run.tags) and run.config.get("seed") == task.fold.seed
    return is_same and not has_scores


def _last_loss(folder: Path) -> float:
    """The last loss of a run; 0 where it recorded none."""
    with Session([load_run(folder)]) as session:
        rows = session.query(LAST_LOSS_SQL).records()
    return as_float(rows[0]["loss"]) if rows else 0.0


def _names(names: Iterable[str] | Mapping[str, float]) -> str:
    return ", ".join(sorted(names))
