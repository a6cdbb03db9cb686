"""Of `explain input`: the parts of an input that speak most for its score."""

from telemetry.answer_page.html import Cell, number, numeric, percent, signed, table
from telemetry.answer_page.reading import Answer, listed, mapping, mappings

MOST_BASELINES = 3  # that have columns of their own


def drawn(answer: Answer) -> str:
    """Parts of an input that speak most for the score, and answers that come without them."""
    top = mappings(answer.get("top"))
    names = [str(name) for name in listed(answer.get("baselines"))]
    each = names if 1 < len(names) <= MOST_BASELINES else []
    has_std = any(part.get("std") is not None for part in top)
    rows = [
        (
            Cell(str(part["segment"])),
            numeric(signed(part["value"]) + ("?" if part.get("unstable") is True else "")),
            *([numeric(number(part.get("std")))] if has_std else []),
            *(numeric(number(mapping(part.get("by_baseline")).get(name))) for name in each),
            numeric(percent(part["share"])),
        )
        for part in top
    ]
    headers = ("part", "value", *(["sd"] if has_std else []), *each, "share")
    changed = [
        (Cell(str(one["segment"])), Cell(str(one["prediction"])), numeric(percent(one["share"])))
        for one in mappings(answer.get("changed"))
    ]
    instead = ("hidden", "answer", "share of the references")
    return table("Parts that contribute most to the score", headers, rows) + table(
        "Answers when a part is hidden", instead, changed
    )
