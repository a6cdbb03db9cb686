"""What training lacks, as a stored comparison with it says."""

import math
from collections.abc import Mapping

from telemetry.evaluate.stored.explanations import StoredExplanation
from telemetry.store.sessions.rows import SqlValue, as_text

MOST_LACKS = 3  # that are told


def lacks_of(comparison: StoredExplanation) -> tuple[str, ...]:
    """What was found, findings first, then what most examples have; else that nothing was."""
    reported = [row for row in comparison.rows if row.get("reported") is True]
    reported.sort(key=lambda row: (row.get("finding") is not True, -_number(row.get("outside_n"))))
    told = tuple(_said(row) for row in reported[:MOST_LACKS] if row.get("sentence"))
    return told or (comparison.answer,)


def _said(row: Mapping[str, SqlValue]) -> str:
    outside, inside = _number(row.get("error_outside")), _number(row.get("error_inside"))
    if row.get("finding") is not True or not math.isfinite(outside + inside):
        return as_text(row["sentence"])
    return (
        f"{as_text(row['sentence'])}; {100 * outside:.1f} % of those outside are answered wrongly, "
        f"{100 * inside:.1f} % of the rest"
    )


def _number(value: SqlValue) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
