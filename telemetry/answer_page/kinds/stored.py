"""Of `explain show`: the rows that keep an answer."""

from telemetry.answer_page.html import Cell, table
from telemetry.answer_page.reading import Answer, listed, mapping


def drawn(answer: Answer) -> str:
    """Rows of a table that keeps answers, as a terminal shows them."""
    kept = mapping(answer.get("table"))
    rows = [[Cell(str(cell)) for cell in listed(row)] for row in listed(kept.get("rows"))]
    return table("Stored numbers", [str(name) for name in listed(kept.get("headers"))], rows)
