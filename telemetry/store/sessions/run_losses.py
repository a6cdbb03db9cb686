"""The loss of runs from their tables."""

from itertools import groupby

from telemetry.format.run_loss import RunLoss, Stretches, loss_of
from telemetry.store.sessions.rows import Queries, Rows, as_float, as_text

# As `telemetry.format.run_loss` defines it: a run of a million steps costs a thousand rows. NaN
# and infinity fail the comparison with the largest double, in DuckDB and in Spark.
STRETCHES_SQL = """
SELECT
    s.project,
    s.run,
    FLOOR(CAST(s.step - e.first_step AS DOUBLE) / e.length) AS stretch,
    MAX(s.step) AS ends,
    SUM(CASE WHEN ABS(s.loss) <= 1.7976931348623157e308 THEN s.loss ELSE 0 END)
        / MAX(e.n_ranks) AS total,
    CAST(SUM(CASE WHEN ABS(s.loss) <= 1.7976931348623157e308 THEN 1 ELSE 0 END) AS DOUBLE)
        / MAX(e.n_ranks) AS n_finite,
    CAST(COUNT(s.loss) AS DOUBLE) / MAX(e.n_ranks) AS n_values
FROM steps AS s
JOIN (
    SELECT
        project,
        run,
        MIN(step) AS first_step,
        COUNT(DISTINCT rank) AS n_ranks,
        POWER(2, GREATEST(0, CEIL(LOG2((MAX(step) - MIN(step) + 1) / 1024.0)))) AS length
    FROM steps
    WHERE loss IS NOT NULL
    GROUP BY project, run
) AS e
    ON e.project = s.project
    AND e.run = s.run
WHERE s.loss IS NOT NULL
GROUP BY s.project, s.run, stretch
ORDER BY s.project, s.run, stretch
"""
LAST_SQL = """
SELECT
    s.project,
    s.run,
    AVG(s.loss) AS loss
FROM steps AS s
JOIN (
    SELECT
        project,
        run,
        MAX(step) AS last_step
    FROM steps
    WHERE loss IS NOT NULL
    GROUP BY project, run
) AS e
    ON e.project = s.project
    AND e.run = s.run
    AND e.last_step = s.step
WHERE s.loss IS NOT NULL
GROUP BY s.project, s.run
ORDER BY s.project, s.run
"""


def read_losses(session: Queries) -> dict[tuple[str, str], RunLoss]:
    """The loss of every run of a session that recorded one, by project and id."""
    last = {
        (as_text(row["project"]), as_text(row["run"])): as_float(row["loss"])
        for row in session.query(LAST_SQL).records()
    }
    rows = session.query(STRETCHES_SQL)
    keys = list(zip(rows.texts("project"), rows.texts("run"), strict=True))
    found, start = {}, 0
    for key, group in groupby(keys):
        end = start + len(list(group))
        if key in last:  # else its first shard came between the two statements
            found[key] = loss_of(_stretches(rows, start, end), last[key])
        start = end
    return found


def _stretches(rows: Rows, start: int, end: int) -> Stretches:
    return Stretches(
        ends=rows.ints("ends")[start:end],
        totals=rows.floats("total")[start:end],
        n_finite=rows.floats("n_finite")[start:end],
        n_values=rows.floats("n_values")[start:end],
    )
