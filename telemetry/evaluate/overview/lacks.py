"""What training lacks, as a stored comparison with it says."""

import math
from collections.abc import Mapping

from telemetry.evaluate.overview.gap_words import SHORTCUT, with_shares
from telemetry.evaluate.stored.explanations import StoredExplanation
from telemetry.store.sessions.rows import SqlValue, as_text

MOST_LACKS = 3  # that are told


def first_lack(comparison: StoredExplanation) -> str | None:
    """In a few words what explains most wrong answers; None: nothing that was found does."""
    found = [row for row in comparison.rows if row.get("finding") is True]
    if not found:
        return None
    first = max(found, key=lambda row: _number(row.get("outside_n")))
    kind, name = as_text(first["kind"]), as_text(first["attribute"])
    return {SHORTCUT: name, "cell": f"training lacks {name}"}.get(kind)


def lacks_of(comparison: StoredExplanation) -> tuple[str, ...]:
    """What was found, findings first, then what most examples have; else that nothing was."""
    reported = [row for row in comparison.rows if row.get("reported") is True]
    reported.sort(key=lambda row: (row.get("finding") is not True, -_number(row.get("outside_n"))))
    told = tuple(_said(row) for row in reported[:MOST_LACKS] if row.get("sentence"))
    return told or (comparison.answer,)


def _said(row: Mapping[str, SqlValue]) -> str:
    outside, inside = _number(row.get("error_outside")), _number(row.get("error_inside"))
    sentence = as_text(row["sentence"])
    if row.get("finding") is not True or not math.isfinite(outside + inside):
        return sentence
    return with_shares(as_text(row["kind"]), sentence, outside, inside)


def _number(value: SqlValue) -> float:
    return float(value) if isinstance(value, int | float) else math.nan
