"""Screens as HTML, for a page: the same sentences and tables as on a terminal."""

from collections.abc import Sequence

from telemetry.answer_page.html import Cell as PageCell
from telemetry.answer_page.html import element, escaped, table
from telemetry.cli.output.grid import Align, Cell, Grid, Style, span
from telemetry.cli.output.markup import MarkupScreen
from telemetry.safe_text import clean

CLASSES = {
    Style.PLAIN: "",
    Style.STRONG: "strong",
    Style.FAINT: "faint",
    Style.ERROR: "bad",
    Style.WARNING: "warn",
    Style.INFO: "info",
    Style.GOOD: "good",
}


class PageScreen(MarkupScreen):
    """Pictures of characters are left out, for a page has drawings in their place."""

    gap = " &emsp;"
    label_kind = "label"

    def grid(self, grid: Grid, *, indent: int = 2) -> int:
        """A table with every column."""
        del indent
        headers = [column.header for column in grid.columns]
        sides = ["n" if column.align is Align.RIGHT else "" for column in grid.columns]
        rows = [self._row(place, row, sides) for place, row in enumerate(grid.rows)]
        self._pieces.append(table("", headers, rows))
        return 0

    def figure(self, lines: Sequence[str]) -> None:
        """Nothing: the page draws it."""

    def picture(self, rows: Sequence[Sequence[str]], marks: Sequence[str]) -> None:
        """Nothing: the page draws it."""

    def _row(self, place: int, row: Sequence[Cell], sides: Sequence[str]) -> list[PageCell]:
        """The cells of the row that has so many before it; `sides` are classes of columns."""
        del place
        return [_cell(cell, side) for cell, side in zip(row, sides, strict=True)]

    def _add(self, content: str, kind: str, *, indent: int = 0) -> None:
        del indent
        self._pieces.append(element("p", content, kind))

    def _add_note(self, text: str) -> None:
        self._add(escaped(text), "foot")

    def _styled(self, content: str, style: Style) -> str:
        kind = CLASSES[style]
        return element("span", content, kind) if kind else content


def _cell(cell: Cell, side: str) -> PageCell:
    piece = span(cell)
    return PageCell(clean(piece.text.strip()), " ".join(filter(None, (side, CLASSES[piece.style]))))
