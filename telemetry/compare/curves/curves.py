"""Reads the curves of runs: the training loss of every step, and logged metrics."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import groupby

from telemetry.compare.curves.align import Series
from telemetry.compare.curves.metric_names import LOSS, STEP_COLUMNS
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import Rows
from telemetry.store.sessions.session import Session

# Ranks see different parts of a batch: their mean is the step's loss. NULL is "not recorded" and
# left out, NaN is a value and kept.
LOSS_SQL = """
SELECT
    step,
    AVG(loss) AS value
FROM steps
WHERE run = $run
    AND loss IS NOT NULL
GROUP BY step
ORDER BY step
"""
STEP_TIME_SQL = """
SELECT
    step,
    AVG(step_s) AS value
FROM steps
WHERE run = $run
    AND step_s IS NOT NULL
GROUP BY step
ORDER BY step
"""
EVALUATED_SQL = """
SELECT
    name,
    step,
    AVG(value) AS value
FROM metrics
WHERE run = $run
    AND value IS NOT NULL
    AND phase = 'eval'
GROUP BY
    name,
    step
ORDER BY
    name,
    step
"""
NAMED_SQL = """
SELECT
    step,
    AVG(value) AS value
FROM metrics
WHERE run = $run
    AND value IS NOT NULL
    AND name = $name
GROUP BY step
ORDER BY step
"""


def read_curves(session: Session, run: Run, requested: Iterable[str]) -> Mapping[str, Series]:
    """Training loss and evaluated metrics of a run by name, and the requested ones besides."""
    losses = _series(session.query(LOSS_SQL, {"run": run.run}))
    found = {LOSS: replace(losses, of_batches=True)}
    evaluated = session.query(EVALUATED_SQL, {"run": run.run})
    every, first = _series(evaluated), 0
    for name, rows in groupby(evaluated.texts("name")):
        size = len(list(rows))
        found.setdefault(name, every.part(first, first + size))
        first += size
    for name in set(requested) - set(found):
        parameters = {"run": run.run}
        if name in STEP_COLUMNS:
            found[name] = _series(session.query(STEP_TIME_SQL, parameters))
        else:
            found[name] = _series(session.query(NAMED_SQL, {**parameters, "name": name}))
    return {name: series for name, series in found.items() if len(series)}


def _series(rows: Rows) -> Series:
    return Series(steps=rows.ints("step"), values=rows.floats("value"))
