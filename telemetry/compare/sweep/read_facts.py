"""Reads what a sweep asks of runs from their tables: a statement a question, over all of them."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from telemetry.compare.curves.align import Series
from telemetry.compare.sweep.facts import Facts, Key
from telemetry.store.sessions.rows import Rows, as_text
from telemetry.store.sessions.run_losses import read_losses
from telemetry.store.sessions.session import Session

NAMES_SQL = """
SELECT
    project,
    run,
    name,
    MAX(CASE WHEN phase = 'eval' THEN 1 ELSE 0 END) AS evaluated
FROM metrics
WHERE value IS NOT NULL
GROUP BY
    project,
    run,
    name
ORDER BY
    project,
    run,
    name
"""
METRIC_SQL = """
SELECT
    project,
    run,
    step,
    AVG(value) AS value
FROM metrics
WHERE name = $name
    AND value IS NOT NULL
GROUP BY
    project,
    run,
    step
ORDER BY
    project,
    run,
    step
"""
# NaN - NaN and inf - inf are not 0.
LOSSES_SQL = """
SELECT
    project,
    run,
    SUM(CASE WHEN loss - loss = 0 THEN 0 ELSE 1 END) AS number
FROM steps
WHERE loss IS NOT NULL
GROUP BY
    project,
    run
ORDER BY
    project,
    run
"""
# Medians over tenths of each run, at which runs that were cut short stand beside others; a run of a
# million steps costs ten rows. NaN sorts above every number: a tenth that is mostly NaN has the
# median NaN. The loss of a step is the mean over its ranks.
LOSS_SQL = """
SELECT
    s.project,
    s.run,
    MAX(s.step) AS step,
    PERCENTILE_CONT(0.5) WITHIN GROUP (ORDER BY s.loss) AS value
FROM (
    SELECT
        project,
        run,
        step,
        AVG(loss) AS loss
    FROM steps
    WHERE loss IS NOT NULL
    GROUP BY
        project,
        run,
        step
) AS s
JOIN (
    SELECT
        project,
        run,
        MAX(step) AS last_step
    FROM steps
    GROUP BY
        project,
        run
) AS e
    ON e.project = s.project
    AND e.run = s.run
GROUP BY
    s.project,
    s.run,
    FLOOR(s.step * 10.0 / (e.last_step + 1))
ORDER BY
    s.project,
    s.run,
    step
"""
SIZES_SQL = """
SELECT
    project,
    run,
    SUM(n) AS number
FROM tensors
WHERE kind = 'weight'
    AND trainable
    AND shared_with IS NULL
GROUP BY
    project,
    run
ORDER BY
    project,
    run
"""


def read_facts(session: Session) -> dict[Key, Facts]:
    """Facts of every run of a session, without curves."""
    broken, sizes = (_numbers(session.query(sql)) for sql in (LOSSES_SQL, SIZES_SQL))
    metrics: dict[Key, dict[str, bool]] = defaultdict(dict)
    for row in session.query(NAMES_SQL).records():
        key = as_text(row["project"]), as_text(row["run"])
        metrics[key][as_text(row["name"])] = bool(row["evaluated"])
    return {
        run.key: Facts(
            metrics=metrics.get(run.key, {}),
            n_broken=broken.get(run.key),
            n_parameters=sizes.get(run.key),
        )
        for run in session.runs
    }


def with_metric(session: Session, facts: Mapping[Key, Facts], name: str) -> dict[Key, Facts]:
    """The facts of the runs of a session, with their curves of a metric."""
    curves = _curves(session.query(METRIC_SQL, {"name": name}))
    return {
        run.key: replace(facts[run.key], curves={**facts[run.key].curves, name: curves[run.key]})
        for run in session.runs
        if run.key in curves
    }


def with_losses(session: Session, facts: Mapping[Key, Facts]) -> dict[Key, Facts]:
    """The facts of the runs of a session, with the medians of their losses."""
    losses = _curves(session.query(LOSS_SQL))
    return {
        run.key: replace(facts[run.key], losses=losses[run.key])
        for run in session.runs
        if run.key in losses
    }


def with_ends(session: Session, facts: Mapping[Key, Facts]) -> dict[Key, Facts]:
    """The facts of the runs of a session, with the losses that they ended with."""
    ends = read_losses(session)
    return {
        run.key: replace(facts[run.key], end=ends[run.key].last)
        for run in session.runs
        if run.key in ends
    }


def _numbers(rows: Rows) -> dict[Key, int]:
    keys = zip(rows.texts("project"), rows.texts("run"), strict=True)
    return dict(zip(keys, rows.ints("number").tolist(), strict=True))


def _curves(rows: Rows) -> dict[Key, Series]:
    """Series of rows that are ordered by project, run and step."""
    if not len(rows):
        return {}
    projects, project_names = rows.codes("project")
    runs, run_names = rows.codes("run")
    steps, values = rows.ints("step"), rows.floats("value")
    begins = np.flatnonzero((np.diff(projects, prepend=-1) != 0) | (np.diff(runs, prepend=-1) != 0))
    return {
        (project_names[projects[first]], run_names[runs[first]]): Series(
            steps=steps[first:end], values=values[first:end]
        )
        for first, end in zip(begins, [*begins[1:], len(rows)], strict=True)
    }
