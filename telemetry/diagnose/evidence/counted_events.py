"""Steps that were looked at for something, how much was found, and the event that names it."""

from collections.abc import Mapping

from telemetry.json_values import Json, parsed_object
from telemetry.store.sessions.rows import Rows


def counted_events_sql(column: str, kind: str) -> str:
    """The SELECT of `step`, its count `n`, and the `payload` of its event, if it has one.

    Args:
        column: Of `steps`, NULL where nobody looked.
        kind: Of the events.
    """
    # Names of our own tables; the run is a parameter.
    return f"""
SELECT
    s.step,
    MAX(s.{column}) AS n,
    MAX(e.payload) AS payload
FROM steps AS s
LEFT JOIN events AS e
    ON e.project = s.project
    AND e.run = s.run
    AND e.step = s.step
    AND e.kind = '{kind}'
WHERE s.run = $run
    AND s.{column} IS NOT NULL
GROUP BY s.step
ORDER BY s.step
"""  # noqa: S608


def payloads(rows: Rows) -> list[Mapping[str, Json]]:
    """What the events say, in the order of their steps."""
    return [parsed_object(text) for text in rows.texts("payload") if text]
