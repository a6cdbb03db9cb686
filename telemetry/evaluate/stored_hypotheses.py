"""Definitions of hypotheses as runs keep them, and what became of each."""

from collections.abc import Sequence

from telemetry.evaluate.hypothesis import Hypothesis, parse_hypotheses
from telemetry.store.catalog import Run
from telemetry.store.rows import as_text
from telemetry.store.session import Session

DEFINITIONS_SQL = """
SELECT
    project,
    run,
    name,
    definition,
    written_at
FROM hypotheses
ORDER BY written_at DESC, project, run, name
"""


def stored_hypotheses(session: Session, runs: Sequence[Run]) -> list[Hypothesis]:
    """The newest definition of each name, of the first run that has it, by name.

    Raises:
        UsageError: a stored definition is wrong.
    """
    rows = session.query(DEFINITIONS_SQL).records()
    found: dict[str, Hypothesis] = {}
    for run in runs:
        for row in rows:
            name = as_text(row["name"])
            is_of = (row["project"], row["run"]) == (run.ref.project, run.run)
            if is_of and name not in found:
                (found[name],) = parse_hypotheses(as_text(row["definition"]), run.run)
    return [found[name] for name in sorted(found)]
