"""Quantities of every layer over stretches of steps, beside the gradient norm of `norm_map`."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.store.runs.run import Run
from telemetry.store.sessions.session import Session

FloatArray = npt.NDArray[np.float64]

RATIOS_SQL = """
SELECT
    l.parameter AS label,
    l.depth,
    MAX(l.n) AS size,
    CAST(FLOOR(CAST(l.step AS DOUBLE) * $points / $n_steps) AS INTEGER) AS part,
    PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY l.update_ratio) AS value,
    MAX(l.nonfinite) AS nonfinite
FROM layers AS l
WHERE l.project = $project
    AND l.run = $run
    AND (l.update_ratio IS NOT NULL OR l.nonfinite > 0)
GROUP BY l.parameter, l.depth, part
ORDER BY l.depth, l.parameter, part
"""

# Where the forwards of training could not be seen, those of the probe stand in for them.
DEAD_SQL = """
SELECT
    a.layer AS label,
    a.depth,
    MAX(a.n_units) AS size,
    CAST(FLOOR(CAST(a.step AS DOUBLE) * $points / $n_steps) AS INTEGER) AS part,
    COALESCE(
        AVG(CASE WHEN a.phase = 'train' THEN a.dead_share END),
        AVG(CASE WHEN a.phase = 'probe' THEN a.dead_share END)
    ) AS value,
    0 AS nonfinite
FROM activations AS a
WHERE a.project = $project
    AND a.run = $run
    AND a.phase IN ('train', 'probe')
    AND a.dead_share IS NOT NULL
GROUP BY a.layer, a.depth, part
ORDER BY a.depth, a.layer, part
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerMap:
    """A quantity of layers or parameters; `values` has shape (n_labels, n_stretches).

    Labels come in the order of the forward pass. A stretch without a sample is NaN, one with an
    element that was not finite is infinite. `sizes` are elements of a parameter, units of a layer.
    """

    labels: tuple[str, ...]
    sizes: tuple[int, ...]
    values: FloatArray


def update_ratio_map(session: Session, run: Run, *, n_steps: int, points: int) -> LayerMap:
    """Update ratio of every parameter: the median of each stretch.

    Args:
        session: Over that run at least.
        run: Which one.
        n_steps: One more than its last step.
        points: Stretches that its steps are divided into; at most one a step.
    """
    return over_stretches(session, run, RATIOS_SQL, n_steps=n_steps, points=points)


def dead_unit_map(session: Session, run: Run, *, n_steps: int, points: int) -> LayerMap:
    """Share of dead units of every layer whose units were watched: the mean of each stretch."""
    return over_stretches(session, run, DEAD_SQL, n_steps=n_steps, points=points)


def over_stretches(
    session: Session, run: Run, statement: str, *, n_steps: int, points: int
) -> LayerMap:
    """What a statement says of each label and stretch.

    Args:
        session: Over that run at least.
        run: Which one.
        statement: Gives label, size, part, value and nonfinite, in the order of the labels.
        n_steps: One more than its last step.
        points: Stretches that its steps are divided into; at most one a step.
    """
    points = max(1, min(points, n_steps))
    key = {"project": run.ref.project, "run": run.run}
    rows = session.query(statement, {**key, "points": points, "n_steps": max(n_steps, 1)})
    names = rows.texts("label")
    sizes = dict(zip(names, rows.ints("size").tolist(), strict=True))
    places = {name: place for place, name in enumerate(sizes)}
    values = np.full((len(places), points), np.nan)
    measured = np.where(rows.floats("nonfinite") > 0, np.inf, rows.floats("value"))
    for name, part, value in zip(names, rows.ints("part"), measured, strict=True):
        values[places[name], min(int(part), points - 1)] = value
    return LayerMap(labels=tuple(sizes), sizes=tuple(sizes.values()), values=values)
