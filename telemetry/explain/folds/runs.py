"""Trains what a cross-validation lacks, and then its winner for the holdout; keeps every score."""

from collections.abc import Sequence

from telemetry.compare.terms import Direction
from telemetry.evaluate.cross_validation.nested import nested_score
from telemetry.evaluate.cross_validation.nested_result import Nested
from telemetry.evaluate.cross_validation.scores import (
    Configuration,
    FoldScore,
    Training,
    scores_by_metric,
)
from telemetry.evaluate.cross_validation.verdicts import choose, goal_of
from telemetry.explain.folds.plan import FoldPlan, config_id
from telemetry.explain.folds.scores import ScoreKeeper, is_settled, looked_through, stored_scores
from telemetry.explain.folds.training import FAILED, OK, FoldTask, TrainAndScore
from telemetry.explain.folds.workers import train_in_parallel
from telemetry.explain.progress import Progress

Errors = dict[Training, str]


class FoldRuns:
    """The trainings of a plan.

    Attributes:
        errors: What went wrong in those trained now.
        winner: Who was scored on the holdout, now or before.
    """

    def __init__(
        self, train_and_score: TrainAndScore, plan: FoldPlan, jobs: int, progress: Progress
    ) -> None:
        self._train_and_score, self._plan, self._jobs = train_and_score, plan, jobs
        self._progress = progress
        self._n_done = 0
        self.errors: Errors = {}
        self.winner: Configuration | None = None

    def train_folds(self) -> int:
        """Train every fold that has no score; how many there were."""
        missing = self._missing(list(self._plan.tasks()))
        self._train(missing, n_after=0 if self._plan.parted.holdout is None else 1)
        return len(missing)

    def score_winner(self, metric: str | None, goal: Direction | None) -> tuple[str, ...]:
        """Train the winner of the folds on them all and score it on the holdout, if there is one.

        Args:
            metric: The score by which it is chosen, where there are several.
            goal: Which way of it is better; by its name when None.

        Returns:
            Why nobody was scored; empty where somebody was, or where there is no holdout.

        Raises:
            UsageError: the metric is unknown.
        """
        fold = self._plan.parted.holdout
        if fold is None:
            return ()
        of_folds = [score for score in self._stored() if score.is_of_fold]
        own = {task.config_id for task in self._plan.tasks()}
        failed = {s.run.ref.path for s in of_folds if s.status == FAILED and s.config_id in own}
        metrics = sorted({score.metric for score in of_folds})
        if failed:  # they are trained again, and another may win then
            return (f"the holdout is scored once the {len(failed)} failed folds are trained",)
        if metric is None and len(metrics) > 1:
            names = ", ".join(metrics)
            return (f"the folds have several scores; choose the winner with --metric: {names}",)
        self.winner = choose(of_folds, metric=metric, goal=goal)
        if self.winner is None:
            return ("no configuration finished every fold, so none was scored on the holdout",)
        self._train(self._missing([self._plan.task(self.winner.parameters, fold)]), n_after=0)
        return ()

    def judge_choice(
        self, metric: str | None, goal: Direction | None
    ) -> tuple[Nested | None, tuple[str, ...]]:
        """What choosing by the inner folds scores on the folds, and why that is not known.

        Args:
            metric: The score by which is chosen, where there are several.
            goal: Which way of it is better; by its name when None.

        Raises:
            UsageError: the metric is unknown.
        """
        inner = self._plan.parted.inner
        if not inner or inner[0].inner is None:
            return None, ()
        own = {task.config_id for task in self._plan.tasks()}
        scores = [score for score in self._stored() if score.config_id in own]
        metrics = sorted({score.metric for score in scores})
        if metric is None and len(metrics) > 1:
            names = ", ".join(metrics)
            return None, (f"the folds have several scores; judge the choice by --metric: {names}",)
        scores = scores_by_metric(scores, metric)
        return nested_score(scores, goal or goal_of(scores), inner_folds=inner[0].inner[1]), ()

    def _missing(self, tasks: Sequence[FoldTask]) -> list[FoldTask]:
        settled = {score.training for score in self._stored() if is_settled(score)}
        return [task for task in tasks if task.training not in settled]

    def _stored(self) -> list[FoldScore]:
        return stored_scores(self._plan.store, self._plan.cv_id)

    def _train(self, tasks: Sequence[FoldTask], *, n_after: int) -> None:
        """Train and publish the scores, as they come."""
        n_all = self._n_done + len(tasks) + n_after
        keeper = _keeper(self._stored(), self._plan)
        self._progress(self._n_done, n_all)
        try:
            for task, raw in train_in_parallel(self._train_and_score, tasks, jobs=self._jobs):
                outcome = keeper.add(task, looked_through(task, raw))
                if outcome.error:
                    self.errors[task.training] = outcome.error
                self._n_done += 1
                self._progress(self._n_done, n_all)
        finally:  # Ctrl-C as well: what was trained counts
            keeper.flush()


def _keeper(stored: Sequence[FoldScore], plan: FoldPlan) -> ScoreKeeper:
    return ScoreKeeper(
        digest=plan.parted.digest,
        incumbent=config_id(plan.grid[0]),
        metrics=tuple(sorted({score.metric for score in stored if score.status == OK})),
        is_open=bool(stored),
    )
