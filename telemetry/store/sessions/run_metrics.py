"""The metrics of runs from their tables, for those whose manifest does not have them."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeAlias

from telemetry.format.run_loss import RunLoss
from telemetry.json_values import Json
from telemetry.metric_direction import higher_is_better
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import Queries, SqlValue, as_float, as_text
from telemetry.store.sessions.run_losses import read_losses

LOSS = "loss"
Key: TypeAlias = tuple[str, str]  # project and id of a run
OpenSession: TypeAlias = Callable[[Sequence[Run]], AbstractContextManager[Queries]]

# Those of rank 0, whose manifest is that of the run. NaN and infinity fail the comparison with the
# largest double, in DuckDB and in Spark. The rows of the last step come in the order in which they
# were logged; a metric of two phases has one there for each.
LOGGED_SQL = """
SELECT
    m.project,
    m.run,
    m.name,
    m.value,
    m.step,
    e.last_step,
    e.lowest,
    e.highest
FROM metrics AS m
JOIN (
    SELECT
        project,
        run,
        name,
        MAX(step) AS last_step,
        MIN(CASE WHEN ABS(value) <= 1.7976931348623157e308 THEN value END) AS lowest,
        MAX(CASE WHEN ABS(value) <= 1.7976931348623157e308 THEN value END) AS highest
    FROM metrics
    WHERE value IS NOT NULL
        AND rank = 0
    GROUP BY project, run, name
) AS e
    ON e.project = m.project
    AND e.run = m.run
    AND e.name = m.name
    AND e.last_step = m.step
WHERE m.value IS NOT NULL
    AND m.rank = 0
ORDER BY m.project, m.run, m.name, m.wall_time
"""
BEST_STEPS_SQL = """
SELECT
    m.project,
    m.run,
    m.name,
    MIN(CASE WHEN m.value = e.lowest THEN m.step END) AS lowest_step,
    MIN(CASE WHEN m.value = e.highest THEN m.step END) AS highest_step
FROM metrics AS m
JOIN (
    SELECT
        project,
        run,
        name,
        MIN(value) AS lowest,
        MAX(value) AS highest
    FROM metrics
    WHERE ABS(value) <= 1.7976931348623157e308
        AND rank = 0
    GROUP BY project, run, name
) AS e
    ON e.project = m.project
    AND e.run = m.run
    AND e.name = m.name
WHERE m.rank = 0
GROUP BY m.project, m.run, m.name
ORDER BY m.project, m.run, m.name
"""


def with_metrics(runs: Sequence[Run], open_session: OpenSession) -> list[Run]:
    """The runs, in their order; those whose manifest lacks metrics have them from their tables.

    Args:
        runs: The runs.
        open_session: Makes what reads the tables; a session needs this function itself, for the
            table `runs`.
    """
    lacking = [run for run in runs if not run.knows_metrics]
    if not lacking:
        return list(runs)
    with open_session(lacking) as session:
        losses = read_losses(session)
        logged = _logged(session)
    return [run if run.knows_metrics else _with_metrics(run, losses, logged) for run in runs]


def _with_metrics(
    run: Run, losses: Mapping[Key, RunLoss], logged: Mapping[Key, Mapping[str, Json]]
) -> Run:
    key = run.ref.project, run.run
    found = dict(logged.get(key, {}))
    if key in losses:
        found[LOSS] = losses[key].to_json()
    return replace(run, measured=found)


def _logged(session: Queries) -> dict[Key, dict[str, Json]]:
    """Last and best of what was logged, by run and name."""
    steps = {_place(row): row for row in session.query(BEST_STEPS_SQL).records()}
    found: dict[Key, dict[str, Json]] = {}
    for row in session.query(LOGGED_SQL).records():
        place = _place(row)
        # A later row of the same step replaces the one before.
        found.setdefault(place[:2], {})[place[2]] = _entry(place[2], row, steps.get(place, {}))
    return found


def _place(row: Mapping[str, SqlValue]) -> tuple[str, str, str]:
    return as_text(row["project"]), as_text(row["run"]), as_text(row["name"])


def _entry(name: str, row: Mapping[str, SqlValue], steps: Mapping[str, SqlValue]) -> Json:
    side = "highest" if higher_is_better(name) else "lowest"
    step = steps.get(f"{side}_step")
    return {
        "last": as_float(row["value"]),
        "best": as_float(row[side]),
        "best_step": None if math.isnan(as_float(step)) else int(as_float(step)),
    }
