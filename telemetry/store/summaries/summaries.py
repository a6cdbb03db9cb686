"""What one looks at first: the curves of a run, what was recorded, and the trend of many runs."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.format.run_loss import LossCurve, RunLoss
from telemetry.format.smoothing import SMOOTHED_FROM
from telemetry.json_values import Json, json_integer, parsed_object
from telemetry.metric_direction import higher_is_better
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import Rows, as_float, as_text
from telemetry.store.sessions.session import Session

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

TREND_POINTS = 12
STEP_CURVES = ("loss", "grad_norm", "lr", "step_s")  # columns of STEPS_SQL shown as curves

STEPS_SQL = """
SELECT
    s.step,
    AVG(s.loss) AS loss,
    AVG(s.grad_norm_total) AS grad_norm,
    AVG(s.lr) AS lr,
    AVG(s.step_s) AS step_s,
    AVG(s.data_s) AS data_s,
    AVG(s.overhead_s) AS overhead_s,
    MAX(s.elapsed_s) AS elapsed_s,
    MIN(s.clip_coefficient) AS clip_coefficient
FROM steps AS s
WHERE s.project = $project
    AND s.run = $run
GROUP BY s.step
ORDER BY s.step
"""

METRICS_SQL = """
SELECT
    m.name,
    m.phase,
    m.step,
    AVG(m.value) AS value
FROM metrics AS m
WHERE m.project = $project
    AND m.run = $run
    AND m.value IS NOT NULL
GROUP BY m.name, m.phase, m.step
ORDER BY m.name, m.phase, m.step
"""

DESCRIPTIONS_SQL = """
SELECT
    e.kind,
    e.attempt,
    e.payload
FROM events AS e
WHERE e.project = $project
    AND e.run = $run
    AND e.rank = 0
    AND e.kind IN ('attach', 'optimizer', 'cadence')
    AND e.severity = 'info'
ORDER BY e.attempt, e.step, e.wall_time
"""

# NaN and infinity fail the comparison with the largest double, in DuckDB and in Spark.
TRENDS_SQL = """
SELECT
    s.project,
    s.run,
    CAST(FLOOR(CAST(s.step AS DOUBLE) * $points / p.n_steps) AS INTEGER) AS part,
    AVG(CASE WHEN ABS(s.loss) <= 1.7976931348623157e308 THEN s.loss END) AS loss,
    MAX(CASE WHEN s.loss > 1.7976931348623157e308 OR s.loss < -1.7976931348623157e308
        THEN s.loss END) AS broken
FROM steps AS s
JOIN (
    SELECT
        project,
        run,
        MAX(step) + 1 AS n_steps
    FROM steps
    GROUP BY project, run
) AS p
    ON p.project = s.project
    AND p.run = s.run
GROUP BY s.project, s.run, part
ORDER BY s.project, s.run, part
"""

SAMPLES_SQL = """
SELECT
    COUNT(DISTINCT t.step) AS n_samples
FROM tensor_rows AS t
WHERE t.project = $project
    AND t.run = $run
"""

FILES_SQL = """
SELECT
    COALESCE(SUM(f.n_bytes), 0) AS n_bytes,
    COALESCE(SUM(CASE WHEN f.table_name = 'tensor_stats' THEN f.n_bytes END), 0) AS n_tensor_bytes,
    COALESCE(SUM(CASE WHEN f.table_name = 'tensor_stats' THEN f.n_rows END), 0) AS n_tensor_rows
FROM files AS f
WHERE f.project = $project
    AND f.run = $run
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One recorded quantity over optimizer steps; NaN is a value that was recorded.

    `phase` is '' for columns of the table steps; `steps` and `values` have shape (n,). Last and
    best of the loss of the steps are means over a tenth of them (`telemetry.format.run_loss`).
    """

    name: str
    phase: str
    steps: IntArray
    values: FloatArray

    @property
    def higher_is_better(self) -> bool:
        """Which way is better, read off the name."""
        return higher_is_better(self.name)

    @property
    def first(self) -> float:
        """The first value."""
        return float(self.values[0])

    @property
    def last(self) -> float:
        """The last value."""
        loss = self._loss
        return float(self.values[-1]) if loss is None else loss.last

    @property
    def best(self) -> tuple[float, int] | None:
        """The best finite value and its step; None when there is none."""
        loss = self._loss
        if loss is not None:
            return None if loss.best_step is None else (loss.best, loss.best_step)
        finite = np.flatnonzero(np.isfinite(self.values))
        if not finite.size:
            return None
        values = self.values[finite]
        at = int(finite[np.argmax(values) if self.higher_is_better else np.argmin(values)])
        return float(self.values[at]), int(self.steps[at])

    @property
    def is_smoothed(self) -> bool:
        """Whether best and last are means."""
        return self._is_loss and self.values.size >= SMOOTHED_FROM

    @property
    def _is_loss(self) -> bool:
        return self.name == "loss" and not self.phase

    @property
    def _loss(self) -> RunLoss | None:
        return LossCurve.of(self.steps, self.values).loss() if self._is_loss else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """Where the time of a run went; NaN where it was not recorded.

    `data_share` is the wait for data and `overhead_share` telemetry's own part of the step time;
    `clipped_share` is the part of the steps whose gradient was scaled down.
    """

    elapsed_s: float
    data_share: float
    overhead_share: float
    clipped_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    """Every curve of a run, the loss first, and its timing."""

    curves: tuple[Curve, ...]
    timing: Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """Payloads of the events of attaching, of the last attempt that has them."""

    model: Mapping[str, Json]
    optimizers: tuple[Mapping[str, Json], ...]
    cadence: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What recording left: sampled steps, rows of tensor_stats, and bytes of all shards."""

    n_samples: int
    n_tensor_rows: int
    n_bytes: int
    n_tensor_bytes: int

    @property
    def bytes_per_tensor_row(self) -> float | None:
        """Bytes of tensor_stats a row; None without rows."""
        return self.n_tensor_bytes / self.n_tensor_rows if self.n_tensor_rows else None


def run_curves(session: Session, run: Run) -> Curves:
    """The curves of one run: columns of steps, then metrics by name."""
    steps = session.query(STEPS_SQL, _key(run))
    metrics = session.query(METRICS_SQL, _key(run))
    curves = [*_step_curves(steps), *_metric_curves(metrics)]
    return Curves(curves=tuple(curves), timing=_timing(steps))


def _key(run: Run) -> dict[str, str]:
    return {"project": run.ref.project, "run": run.run}


def _step_curves(rows: Rows) -> list[Curve]:
    steps = rows.ints("step")
    curves = []
    for name in STEP_CURVES:
        recorded = rows.known(name)
        if recorded.any():
            values = rows.floats(name)[recorded]
            curves.append(Curve(name=name, phase="", steps=steps[recorded], values=values))
    return curves


def _metric_curves(rows: Rows) -> list[Curve]:
    steps, values = rows.ints("step"), rows.floats("value")
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, key in enumerate(zip(rows.texts("name"), rows.texts("phase"), strict=True)):
        places[key].append(index)
    return [
        Curve(name=name, phase=phase, steps=steps[where], values=values[where])
        for (name, phase), where in places.items()
    ]


def _timing(rows: Rows) -> Timing:
    elapsed, step = rows.floats("elapsed_s"), np.nansum(rows.floats("step_s"))
    clip = rows.floats("clip_coefficient")
    known = clip[np.isfinite(clip)]
    total = step if step > 0 else np.nan
    return Timing(
        elapsed_s=float(elapsed[-1]) if elapsed.size else float("nan"),
        data_share=float(np.nansum(rows.floats("data_s")) / total),
        overhead_share=float(np.nansum(rows.floats("overhead_s")) / total),
        clipped_share=float(np.mean(known < 1)) if known.size else float("nan"),
    )


def run_description(session: Session, run: Run) -> Description:
    """Model, optimizers and cadence as the events of the last attempt tell them."""
    records = session.query(DESCRIPTIONS_SQL, _key(run)).records()
    found: dict[str, list[dict[str, Json]]] = defaultdict(list)
    for record in records:
        if record["attempt"] == records[-1]["attempt"]:
            found[as_text(record["kind"])].append(parsed_object(as_text(record["payload"])))
    cadence = found["cadence"][-1].get("after") if found["cadence"] else None
    return Description(
        model=found["attach"][-1] if found["attach"] else {},
        optimizers=tuple(found["optimizer"]),
        cadence=json_integer(cadence, least=1),
    )


def footprint(session: Session, run: Run) -> Footprint:
    """Rows and bytes of one run."""
    (samples,) = session.query(SAMPLES_SQL, _key(run)).records()
    (files,) = session.query(FILES_SQL, _key(run)).records()
    return Footprint(
        n_samples=int(as_float(samples["n_samples"])),
        n_tensor_rows=int(as_float(files["n_tensor_rows"])),
        n_bytes=int(as_float(files["n_bytes"])),
        n_tensor_bytes=int(as_float(files["n_tensor_bytes"])),
    )


def loss_trends(session: Session) -> dict[str, tuple[float | None, ...]]:
    """Mean loss over equal stretches of steps of every run of a session, by run id.

    At most 12 stretches; one with a NaN or infinite loss has that value, one without any is None.
    """
    rows = session.query(TRENDS_SQL, {"points": TREND_POINTS})
    trends: dict[str, list[float | None]] = defaultdict(list)
    for record in rows.records():
        value = record["loss"] if record["broken"] is None else record["broken"]
        trends[as_text(record["run"])].append(None if value is None else as_float(value))
    return {run: tuple(values) for run, values in trends.items()}
