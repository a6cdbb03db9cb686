"""The gradient norm of every layer over stretches of steps: a map that a screen can draw."""

from dataclasses import dataclass

from telemetry.store.runs.run import Run
from telemetry.store.sessions.session import Session
from telemetry.store.summaries.layer_maps import FloatArray, over_stretches

# The norm of a layer is that of its parameters together; a stretch shows the root of the mean
# square, which a single large step still moves.
NORMS_SQL = """
SELECT
    l.layer AS label,
    l.depth,
    0 AS size,
    CAST(FLOOR(CAST(l.step AS DOUBLE) * $points / $n_steps) AS INTEGER) AS part,
    SQRT(AVG(l.sumsq)) AS value,
    MAX(l.nonfinite) AS nonfinite
FROM (
    SELECT
        layer,
        depth,
        step,
        SUM(grad_norm * grad_norm) AS sumsq,
        MAX(nonfinite) AS nonfinite
    FROM layers
    WHERE project = $project
        AND run = $run
    GROUP BY layer, depth, step
) AS l
GROUP BY l.layer, l.depth, part
ORDER BY l.depth, l.layer, part
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NormMap:
    """Gradient norms; `norms` has shape (n_layers, n_stretches).

    Layers come in the order of the forward pass. A stretch without a sample is NaN, one with an
    element that was not finite is infinite. The stretches divide `n_steps` equally.
    """

    layers: tuple[str, ...]
    norms: FloatArray
    n_steps: int


def norm_map(session: Session, run: Run, *, n_steps: int, points: int) -> NormMap:
    """The map of one run.

    Args:
        session: Over that run at least.
        run: Which one.
        n_steps: One more than its last step.
        points: Stretches that its steps are divided into; at most one a step.
    """
    found = over_stretches(session, run, NORMS_SQL, n_steps=n_steps, points=points)
    return NormMap(layers=found.labels, norms=found.values, n_steps=n_steps)
