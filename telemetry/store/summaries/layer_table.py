"""One row per parameter and per activation: what `telemetry layers` shows of a run."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from telemetry.errors import Inconclusive, UsageError
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import Rows, SqlValue, as_float, as_text
from telemetry.store.sessions.session import Session

TREND_POINTS = 12
QUANTILES = ("p01", "p25", "p50", "p75", "p99")

# An evaluation belongs to the last step begun, which is seldom a sampled one; and a step whose
# forward alone was seen would show a table without a parameter.
SAMPLED_STEPS_SQL = """
SELECT
    t.step
FROM tensor_rows AS t
WHERE t.project = $project
    AND t.run = $run
UNION
SELECT
    m.step
FROM module_rows AS m
WHERE m.project = $project
    AND m.run = $run
    AND m.phase = 'train'
    AND NOT EXISTS (
        SELECT 1
        FROM tensor_rows AS p
        WHERE p.project = $project
            AND p.run = $run
    )
ORDER BY step
"""

PARAMETERS_SQL = """
SELECT
    l.layer,
    l.parameter,
    l.module_type,
    l.depth,
    t.shape,
    l.n,
    PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY l.grad_norm) AS grad_norm,
    PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY l.weight_norm) AS weight_norm,
    PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY l.update_ratio) AS update_ratio,
    MAX(l.nonfinite) AS nonfinite
FROM layers AS l
JOIN tensors AS t
    ON t.project = l.project
    AND t.run = l.run
    AND t.tensor_id = l.param_id
WHERE l.project = $project
    AND l.run = $run
    AND l.step BETWEEN $first AND $last
GROUP BY l.layer, l.parameter, l.module_type, l.depth, t.shape, l.n
ORDER BY l.depth, l.parameter
"""

# A probe shows a fixed batch: it stands in where the forwards of training could not be seen.
ACTIVATIONS_SQL = """
SELECT
    a.layer,
    a.type AS module_type,
    a.depth,
    COALESCE(
        PERCENTILE_CONT(0.5) WITHIN GROUP (
            ORDER BY CASE WHEN a.phase = 'train' THEN a.dead_share END
        ),
        PERCENTILE_CONT(0.5) WITHIN GROUP (
            ORDER BY CASE WHEN a.phase = 'probe' THEN a.dead_share END
        )
    ) AS dead_share,
    COALESCE(
        PERCENTILE_CONT(0.5) WITHIN GROUP (
            ORDER BY CASE WHEN a.phase = 'train' THEN a.saturated_share END
        ),
        PERCENTILE_CONT(0.5) WITHIN GROUP (
            ORDER BY CASE WHEN a.phase = 'probe' THEN a.saturated_share END
        )
    ) AS saturated_share,
    COALESCE(
        MAX(CASE WHEN a.phase = 'train' THEN a.nonfinite END),
        MAX(CASE WHEN a.phase = 'probe' THEN a.nonfinite END)
    ) AS nonfinite
FROM (
    SELECT
        layer,
        type,
        depth,
        phase,
        step,
        MAX(dead_share) AS dead_share,
        MAX(saturated_share) AS saturated_share,
        MAX(nonfinite) AS nonfinite
    FROM activations
    WHERE project = $project
        AND run = $run
        AND phase IN ('train', 'probe')
        AND step BETWEEN $first AND $last
        AND (dead_share IS NOT NULL OR saturated_share IS NOT NULL)
    GROUP BY layer, type, depth, phase, step
) AS a
GROUP BY a.layer, a.type, a.depth
ORDER BY a.depth, a.layer
"""

# NaN and infinity fail the comparison with the largest double, in DuckDB and in Spark.
TRENDS_SQL = """
SELECT
    l.parameter,
    CAST(FLOOR(CAST(l.step - $first AS DOUBLE) * $points / ($last - $first + 1)) AS INTEGER)
        AS part,
    AVG(CASE WHEN l.grad_norm <= 1.7976931348623157e308 THEN l.grad_norm END) AS grad_norm,
    MAX(
        CASE
            WHEN l.grad_norm > 1.7976931348623157e308 THEN l.grad_norm
            WHEN l.nonfinite > 0 THEN CAST('NaN' AS DOUBLE)
        END
    ) AS broken
FROM layers AS l
WHERE l.project = $project
    AND l.run = $run
    AND l.step BETWEEN $first AND $last
GROUP BY l.parameter, part
ORDER BY l.parameter, part
"""

QUANTILES_SQL = """
SELECT
    q.parameter,
    q.kind,
    q.p01,
    q.p25,
    q.p50,
    q.p75,
    q.p99
FROM quantiles AS q
WHERE q.project = $project
    AND q.run = $run
    AND q.step = $last
    AND q.kind IN ('gradient', 'weight')
ORDER BY q.parameter, q.kind
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRow:
    """A parameter, or a module without parameters whose output is an activation.

    Norms and ratios are medians over the samples shown; None where nothing was recorded. Norms are
    those of the finite elements; `nonfinite` counts the others. `trend` holds the gradient norm
    over equal stretches of steps, NaN where an element was not finite; `quantiles` maps a kind to
    `p50` etc.
    """

    layer: str
    parameter: str | None
    module_type: str
    depth: int | None
    shape: str = ""
    n: int = 0
    grad_norm: float | None = None
    weight_norm: float | None = None
    update_ratio: float | None = None
    dead_share: float | None = None
    saturated_share: float | None = None
    nonfinite: int = 0
    trend: tuple[float | None, ...] = ()
    quantiles: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """Optimizer steps that are shown, both ends included; one sample if they are equal."""

    first: int
    last: int


def sampled_steps(session: Session, run: Run) -> npt.NDArray[np.int64]:
    """Steps with samples, ascending.

    Raises:
        Inconclusive: nothing was sampled.
    """
    steps = session.query(SAMPLED_STEPS_SQL, _key(run)).ints("step")
    if not steps.size:
        raise Inconclusive(
            f"run {run.name} ({run.short}) has no sampled step; layers are recorded on sampled "
            "steps only. Train longer, or with every=1."
        )
    return steps


def nearest_step(steps: npt.NDArray[np.int64], wanted: int) -> int:
    """The sampled step nearest to a step; the earlier of two."""
    return int(steps[np.argmin(np.abs(steps - wanted))])


def exact_step(steps: npt.NDArray[np.int64], wanted: int) -> int:
    """The step itself.

    Raises:
        UsageError: it was not sampled; the message names the nearest that was.
    """
    if wanted not in steps:
        near = nearest_step(steps, wanted)
        raise UsageError(f"step {wanted} was not sampled; the nearest sampled step is {near}.")
    return wanted


def layer_rows(
    session: Session, run: Run, *, shown: Window, trend: Window, quantiles: bool = False
) -> list[LayerRow]:
    """Rows of one run in order of execution.

    Args:
        session: A session that shows the run.
        run: The run.
        shown: Steps over which norms and shares are taken (medians over samples).
        trend: Steps over which the trend of the gradient norm runs.
        quantiles: Whether to add quantiles of gradient and weight at the last step shown.
    """
    bounds = {**_key(run), "first": shown.first, "last": shown.last}
    activations = {
        row.layer: row for row in map(_activation, session.query(ACTIVATIONS_SQL, bounds).records())
    }
    trends = _trends(session, {**_key(run), "first": trend.first, "last": trend.last})
    spread = _quantiles(session.query(QUANTILES_SQL, bounds)) if quantiles else {}
    rows = []
    for record in session.query(PARAMETERS_SQL, bounds).records():
        row = _parameter(record)
        own = activations.get(row.layer)
        rows.append(
            replace(
                row,
                dead_share=own.dead_share if own else None,
                saturated_share=own.saturated_share if own else None,
                trend=trends.get(row.parameter or "", ()),
                quantiles=spread.get(row.parameter or "", {}),
            )
        )
    owners = {row.layer for row in rows}
    rows += [row for layer, row in activations.items() if layer not in owners]
    return sorted(rows, key=lambda row: (row.depth is None, row.depth or 0))


def _key(run: Run) -> dict[str, SqlValue]:
    return {"project": run.ref.project, "run": run.run}


def _parameter(record: Mapping[str, SqlValue]) -> LayerRow:
    return LayerRow(
        layer=as_text(record["layer"]),
        parameter=as_text(record["parameter"]),
        module_type=as_text(record["module_type"]),
        depth=_integer(record["depth"]),
        shape=as_text(record["shape"]),
        n=_integer(record["n"]) or 0,
        grad_norm=_number(record["grad_norm"]),
        weight_norm=_number(record["weight_norm"]),
        update_ratio=_number(record["update_ratio"]),
        nonfinite=_integer(record["nonfinite"]) or 0,
    )


def _activation(record: Mapping[str, SqlValue]) -> LayerRow:
    return LayerRow(
        layer=as_text(record["layer"]),
        parameter=None,
        module_type=as_text(record["module_type"]),
        depth=_integer(record["depth"]),
        dead_share=_number(record["dead_share"]),
        saturated_share=_number(record["saturated_share"]),
        nonfinite=_integer(record["nonfinite"]) or 0,
    )


def _trends(
    session: Session, bounds: Mapping[str, SqlValue]
) -> dict[str, tuple[float | None, ...]]:
    records = session.query(TRENDS_SQL, {**bounds, "points": TREND_POINTS}).records()
    # A stretch without any sample is the cadence's doing, not a gap in one parameter's record.
    parts = sorted({int(as_float(record["part"])) for record in records})
    trends: dict[str, list[float | None]] = defaultdict(lambda: [None] * len(parts))
    for record in records:
        value = record["grad_norm"] if record["broken"] is None else record["broken"]
        place = parts.index(int(as_float(record["part"])))
        trends[as_text(record["parameter"])][place] = _number(value)
    return {parameter: tuple(values) for parameter, values in trends.items()}


def _quantiles(rows: Rows) -> dict[str, dict[str, dict[str, float]]]:
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(dict)
    for record in rows.records():
        values = {name: as_float(record[name]) for name in QUANTILES if record[name] is not None}
        found[as_text(record["parameter"])][as_text(record["kind"])] = values
    return found


def _number(value: SqlValue) -> float | None:
    return None if value is None else as_float(value)


def _integer(value: SqlValue) -> int | None:
    return None if value is None else int(as_float(value))
