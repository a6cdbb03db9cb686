"""Of `explain input`: the parts of an input that speak most for its score."""

from collections.abc import Mapping

from telemetry.answer_page.html import Cell, number, numeric, percent, signed, table
from telemetry.answer_page.reading import Answer, listed, mapping, mappings
from telemetry.json_values import Json

MOST_BASELINES = 3  # that have columns of their own


def drawn(answer: Answer) -> str:
    """Parts of an input that speak most for the score, and answers that come without them."""
    top = mappings(answer.get("top"))
    names = [str(name) for name in listed(answer.get("baselines"))]
    each = names if 1 < len(names) <= MOST_BASELINES else []
    has_std = any(part.get("std") is not None for part in top)
    is_table = any(part.get("given") is not None for part in top)
    rows = [
        (
            Cell(str(part["segment"])),
            *(_given(mapping(part.get("given"))) if is_table else []),
            numeric(signed(part["value"]) + ("?" if part.get("unstable") is True else "")),
            *([numeric(number(part.get("std")))] if has_std else []),
            *(numeric(number(mapping(part.get("by_baseline")).get(name))) for name in each),
            numeric(percent(part["share"])),
        )
        for part in top
    ]
    given = ["is", "reference"] if is_table else []
    headers = ("part", *given, "value", *(["sd"] if has_std else []), *each, "share")
    changed = [
        (Cell(str(one["segment"])), Cell(str(one["prediction"])), numeric(percent(one["share"])))
        for one in mappings(answer.get("changed"))
    ]
    instead = ("hidden", "answer", "share of the references")
    return table("Parts that contribute most to the score", headers, rows) + table(
        "Answers when a part is hidden", instead, changed
    )


def _given(given: Mapping[str, Json]) -> list[Cell]:
    """What a column of a table is, with its unit, and what it was compared with."""
    unit = f" {given['unit']}" if given.get("unit") else ""
    return [numeric(f"{_known(given.get('value'))}{unit}"), numeric(_known(given.get("reference")))]


def _known(value: Json) -> str:
    return value if isinstance(value, str) else number(value)
