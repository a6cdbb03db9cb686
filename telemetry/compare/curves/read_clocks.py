"""Reads how far a run had come after each step: samples, tokens, time."""

import numpy as np

from telemetry.compare.curves.align import Floats, Series
from telemetry.compare.curves.axes import TICKS_PER_S, Clocks
from telemetry.compare.curves.metric_names import counts_tokens
from telemetry.compare.terms import Axis
from telemetry.store.runs.run import Run
from telemetry.store.sessions.session import Session

# Ranks see different samples and share the time.
STEPS_SQL = """
SELECT
    step,
    SUM(samples) AS samples,
    MAX(elapsed_s) AS elapsed_s
FROM steps
WHERE run = $run
GROUP BY step
ORDER BY step
"""
LOGGED_SQL = """
SELECT
    name,
    step,
    MAX(value) AS value
FROM metrics
WHERE run = $run
    AND LOWER(name) LIKE '%token%'
    AND value IS NOT NULL
GROUP BY
    name,
    step
ORDER BY
    name,
    step
"""


def read_clocks(session: Session, run: Run) -> Clocks:
    """Positions after each step for each axis that was recorded.

    Tokens are what the user logged under a name such as `tokens` or `train/n_tokens`, the shortest
    of several: a count that never falls is one since the start, any other that of a step.
    """
    rows = session.query(STEPS_SQL, {"run": run.run})
    steps = rows.ints("step")
    samples = np.cumsum(_filled(rows.floats("samples")))
    times = np.maximum.accumulate(_filled(rows.floats("elapsed_s"))) * TICKS_PER_S
    clocks = {
        axis: Series(steps=steps, values=values)
        for axis, values in ((Axis.SAMPLES, samples), (Axis.TIME, times))
        if values.size
    }
    tokens = _read_tokens(session, run)
    return clocks if tokens is None else {**clocks, Axis.TOKENS: tokens}


def _read_tokens(session: Session, run: Run) -> Series | None:
    rows = session.query(LOGGED_SQL, {"run": run.run})
    name = min(filter(counts_tokens, rows.texts("name")), key=len, default=None)
    if name is None:
        return None
    logged = rows.part("name", name)
    values = _filled(logged.floats("value"))
    since_start = bool((np.diff(values) >= 0).all()) and values[-1] > values[0]
    return Series(steps=logged.ints("step"), values=values if since_start else np.cumsum(values))


def _filled(values: Floats) -> Floats:
    """A missing value as the typical one; empty where all are missing."""
    known = values[np.isfinite(values)]
    return np.where(np.isfinite(values), values, np.median(known)) if known.size else known
