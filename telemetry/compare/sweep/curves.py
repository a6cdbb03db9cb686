"""The one metric of a sweep: which it is, and each run's value and curve."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from telemetry.compare.curves.align import Series
from telemetry.compare.curves.metric_names import LOSS, by_importance
from telemetry.compare.terms import Direction
from telemetry.errors import Inconclusive, UsageError
from telemetry.store.catalog import Run
from telemetry.store.rows import Rows
from telemetry.store.run_losses import read_losses
from telemetry.store.session import Session
from telemetry.store.store import Store

COMMON_SHARE = 0.5  # of the runs that have the commonest metric; rarer ones are not chosen unasked

NAMES_SQL = """
SELECT
    name,
    MAX(CASE WHEN phase = 'eval' THEN 1 ELSE 0 END) AS evaluated,
    COUNT(DISTINCT run) AS n_runs
FROM metrics
WHERE value IS NOT NULL
GROUP BY name
ORDER BY name
"""
METRIC_SQL = """
SELECT
    run,
    step,
    AVG(value) AS value
FROM metrics
WHERE name = $name
    AND value IS NOT NULL
GROUP BY
    run,
    step
ORDER BY
    run,
    step
"""
# NaN - NaN and inf - inf are not 0.
LOSSES_SQL = """
SELECT
    run,
    SUM(CASE WHEN loss - loss = 0 THEN 0 ELSE 1 END) AS n_broken
FROM steps
WHERE loss IS NOT NULL
GROUP BY run
ORDER BY run
"""
# Medians over tenths of each run, at which runs that were cut short stand beside others; a run of a
# million steps costs ten rows. NaN sorts above every number: a tenth that is mostly NaN has the
# median NaN. The loss of a step is the mean over its ranks.
LOSS_SQL = """
SELECT
    s.run,
    MAX(s.step) AS step,
    PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY s.loss) AS value
FROM (
    SELECT
        run,
        step,
        AVG(loss) AS loss
    FROM steps
    WHERE loss IS NOT NULL
    GROUP BY
        run,
        step
) AS s
JOIN (
    SELECT
        run,
        MAX(step) AS last_step
    FROM steps
    GROUP BY run
) AS e
    ON e.run = s.run
GROUP BY
    s.run,
    FLOOR(s.step * 10.0 / (e.last_step + 1))
ORDER BY
    s.run,
    step
"""


SIZES_SQL = """
SELECT
    run,
    SUM(n) AS n_parameters
FROM tensors
WHERE kind = 'weight'
    AND trainable
    AND shared_with IS NULL
GROUP BY run
ORDER BY run
"""


class MetricSource(StrEnum):
    """On what a metric was measured."""

    EVALUATION = "evaluation"
    TRAINING = "training"
    TRAINING_ALONE = "training alone"  # no run recorded an evaluation


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCurves:
    """The metric and each run's curve of it.

    `losses` has the training loss that each run ended with (`telemetry.format.run_loss`), where it
    is the metric, and of the runs whose loss was not always finite. `n_parameters` counts the
    trainable ones, shared weights once, where they were recorded.
    """

    metric: str
    source: MetricSource
    values: Mapping[str, Series]
    losses: Mapping[str, float]
    n_parameters: Mapping[str, int]

    @property
    def best_counts(self) -> bool:
        """Whether a run counts with its best value; else with its final one."""
        return self.metric != LOSS

    def diverged(self, run: str) -> bool:
        """Whether the loss or the metric of a run ended in values that are not finite."""
        curve = self.values.get(run) if self.best_counts else None
        ended_so = curve is not None and math.isnan(curve.final())
        return ended_so or not math.isfinite(self.losses.get(run, 0.0))

    def value(self, run: str, goal: Direction) -> float | None:
        """What ranks a run: the best of a logged metric, the training loss that it ended with.

        The best, because a checkpoint of it can be kept; the loss of single batches is too noisy
        for its best to mean anything.
        """
        curve = self.values.get(run)
        if curve is None:
            return None
        value = curve.best(goal) if self.best_counts else self.losses.get(run, curve.final())
        return value if math.isfinite(value) else None


def read_sweep(store: Store, runs: Sequence[Run], metric: str | None) -> SweepCurves:
    """Curves of the metric asked for, or of the one that decides by its name.

    Losses are read where they are the metric or where any is not finite: whether a run ended so is
    all that is asked of them otherwise.

    Raises:
        UsageError: no run recorded the metric.
        Inconclusive: the runs recorded neither a loss nor an evaluation.
    """
    with store.session(runs) as session:
        losses = session.query(LOSSES_SQL)
        names = session.query(NAMES_SQL)
        chosen = _chosen(names, len(losses), metric)
        from_steps = chosen == LOSS and len(losses) > 0
        values = {} if from_steps else _by_run(session.query(METRIC_SQL, {"name": chosen}))
        sizes = session.query(SIZES_SQL)
        ends = {}
        if from_steps:
            values, ends = _by_run(session.query(LOSS_SQL)), _ends(session)
    broken = {
        run
        for run, n_broken in zip(losses.texts("run"), losses.ints("n_broken"), strict=True)
        if n_broken
    }
    return SweepCurves(
        metric=chosen,
        source=_source(names, chosen, from_steps=from_steps),
        values=values,
        losses=ends if from_steps else _losses(store, [r for r in runs if r.run in broken]),
        n_parameters=dict(
            zip(sizes.texts("run"), sizes.ints("n_parameters").tolist(), strict=True)
        ),
    )


def _losses(store: Store, runs: Sequence[Run]) -> dict[str, float]:
    if not runs:
        return {}
    with store.session(runs) as session:
        return _ends(session)


def _ends(session: Session) -> dict[str, float]:
    """The training loss that each run ended with."""
    return {run: loss.last for (_, run), loss in read_losses(session).items()}


def _chosen(names: Rows, n_losses: int, metric: str | None) -> str:
    counts = dict(zip(names.texts("name"), names.ints("n_runs").tolist(), strict=True))
    evaluated = dict(zip(names.texts("name"), names.ints("evaluated").tolist(), strict=True))
    if n_losses:
        counts[LOSS], evaluated[LOSS] = n_losses, 1
    if metric is not None:
        if metric not in counts:
            known = ", ".join(by_importance(counts)) or "none at all"
            raise UsageError(f"metric {metric!r} is recorded in no run; there is {known}.")
        return metric
    offered = {name: n for name, n in counts.items() if evaluated[name]}
    if not offered:
        raise Inconclusive(
            "the runs recorded neither a loss nor an evaluation; pass telemetry.step(loss=loss) "
            "or telemetry.log(val_loss=...)."
        )
    most = max(offered.values())
    return by_importance(name for name, n in offered.items() if n >= COMMON_SHARE * most)[0]


def _source(names: Rows, chosen: str, *, from_steps: bool) -> MetricSource:
    evaluated = {
        name
        for name, is_evaluated in zip(names.texts("name"), names.ints("evaluated"), strict=True)
        if is_evaluated
    }
    if chosen in evaluated and not from_steps:
        return MetricSource.EVALUATION
    return MetricSource.TRAINING if evaluated else MetricSource.TRAINING_ALONE


def _by_run(rows: Rows) -> dict[str, Series]:
    codes, runs = rows.codes("run")
    steps, values = rows.ints("step"), rows.floats("value")
    edges = np.searchsorted(codes, np.arange(len(runs) + 1))
    return {
        run: Series(steps=steps[first:end], values=values[first:end])
        for run, first, end in zip(runs, edges[:-1], edges[1:], strict=True)
    }
