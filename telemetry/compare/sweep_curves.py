"""The one metric of a sweep: which it is, and each run's value and curve."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.compare.align import Series
from telemetry.compare.diff_result import Direction
from telemetry.compare.metric_names import LOSS, by_importance
from telemetry.errors import Inconclusive, UsageError
from telemetry.store.rows import Rows
from telemetry.store.session import Session

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
# Medians over tenths of each run, so that the last point is the median of the final window and a
# run of a million steps costs ten rows. NaN sorts above every number: a tenth that is mostly NaN
# has the median NaN.
LOSS_SQL = """
SELECT
    s.run,
    MAX(s.step) AS step,
    PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY s.loss) AS value
FROM steps AS s
JOIN (
    SELECT
        run,
        MAX(step) AS last_step
    FROM steps
    GROUP BY run
) AS e
    ON e.run = s.run
WHERE s.loss IS NOT NULL
GROUP BY
    s.run,
    FLOOR(s.step * 10.0 / (e.last_step + 1))
ORDER BY
    s.run,
    step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepCurves:
    """The metric and each run's curve of it, and of the training loss in ten points."""

    metric: str
    values: Mapping[str, Series]
    losses: Mapping[str, Series]

    def diverged(self, run: str) -> bool:
        """Whether the loss or the metric of a run ended in values that are not finite."""
        curves = (self.losses.get(run), self.values.get(run))
        return any(curve is not None and math.isnan(curve.final()) for curve in curves)

    def value(self, run: str, goal: Direction) -> float | None:
        """What ranks a run: the best of a logged metric, the final median of the training loss.

        The best, because a checkpoint of it can be kept; the loss of single batches is too noisy
        for its best to mean anything.
        """
        curve = self.values.get(run)
        if curve is None:
            return None
        value = curve.final() if self.metric == LOSS else curve.best(goal)
        return value if math.isfinite(value) else None


def read_sweep(session: Session, metric: str | None) -> SweepCurves:
    """Curves of the metric asked for, or of the one that decides by its name.

    Raises:
        UsageError: no run recorded the metric.
        Inconclusive: the runs recorded neither a loss nor an evaluation.
    """
    losses = _by_run(session.query(LOSS_SQL))
    chosen = _chosen(session.query(NAMES_SQL), len(losses), metric)
    from_steps = chosen == LOSS and bool(losses)
    values = losses if from_steps else _by_run(session.query(METRIC_SQL, {"name": chosen}))
    return SweepCurves(metric=chosen, values=values, losses=losses)


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


def _by_run(rows: Rows) -> dict[str, Series]:
    codes, runs = rows.codes("run")
    steps, values = rows.ints("step"), rows.floats("value")
    edges = np.searchsorted(codes, np.arange(len(runs) + 1))
    return {
        run: Series(steps=steps[first:end], values=values[first:end])
        for run, first, end in zip(runs, edges[:-1], edges[1:], strict=True)
    }


def order_is_open(curves: Sequence[Series], goal: Direction, limit: float) -> bool:
    """Whether the order of the runs still changes: rank correlation of three quarters with the end.

    Args:
        curves: Curves of runs that did not diverge.
        goal: Which way is better.
        limit: Correlation below which the order counts as open.
    """
    late = [curve for curve in curves if len(curve) >= 4]  # noqa: PLR2004 - has three quarters
    if len(late) < 5:  # noqa: PLR2004 - fewer runs have no order to speak of
        return False
    early = np.array([curve.part(0, 3 * len(curve) // 4).best(goal) for curve in late])
    final = np.array([curve.best(goal) for curve in late])
    ranks = [np.argsort(np.argsort(values)).astype(np.float64) for values in (early, final)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1]) < limit
