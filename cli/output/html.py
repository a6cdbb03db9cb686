"""Screens as pieces of HTML, for a notebook: its own fonts and colours, nothing that runs."""

from collections.abc import Sequence

from telemetry.answer_page.html import element, escaped
from telemetry.cli.options import Settings
from telemetry.cli.output.grid import Align, Grid, Style
from telemetry.cli.output.markup import MarkupScreen

# Of the middle, so that they are read on white and on black.
STYLES = {
    Style.STRONG: "font-weight:bold",
    Style.FAINT: "opacity:.7",
    Style.ERROR: "font-weight:bold;color:#d9372c",
    Style.WARNING: "color:#b87503",
    Style.INFO: "color:#0f86c1",
    Style.GOOD: "color:#2c9147",
}
TABLE = "border-collapse:collapse;font-variant-numeric:tabular-nums;margin:.5em 0"
NARROW = "margin:.15em 0"


class HtmlScreen(MarkupScreen):
    """Pieces of HTML, in order; long tables are cut as on a terminal."""

    gap = " &ensp; "

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._unicode = True  # a browser knows more than the stdout of its kernel

    @property
    def content(self) -> str:
        """Everything, in one element."""
        return element("div", self.html, "telemetry")

    def figure(self, lines: Sequence[str]) -> None:
        """Characters that keep their places."""
        self._pieces.append(element("pre", escaped_lines(lines)))

    def grid(self, grid: Grid, *, indent: int = 2) -> int:
        """A table with every column."""
        del indent
        sides = [column.align for column in grid.columns]
        head = "".join(
            _table_cell("th", escaped(column.header), column.align) for column in grid.columns
        )
        rows = [
            "".join(
                _table_cell("td", self._inline(cell), side)
                for cell, side in zip(row, sides, strict=True)
            )
            for row in grid.rows
        ]
        body = "".join(element("tr", row) for row in rows)
        content = element("thead", element("tr", head)) + element("tbody", body)
        table = f'<table style="{TABLE}">{content}</table>'
        self._pieces.append(f'<div style="overflow-x:auto">{table}</div>')
        return 0

    def picture(self, rows: Sequence[Sequence[str]], marks: Sequence[str]) -> None:
        """The image in characters."""
        del rows
        if marks:
            self.figure(marks)

    def warn(self, message: str) -> None:
        """A warning among the rest: stderr would stand above it in a box of its own."""
        self._add(self._styled(escaped(f"warning: {message}"), Style.WARNING), "")

    def _add(self, content: str, kind: str, *, indent: int = 0) -> None:
        del kind
        margin = f"{NARROW};margin-left:{indent}ch" if indent else NARROW
        self._pieces.append(f'<p style="{margin}">{content}</p>')

    def _add_note(self, text: str) -> None:
        self._add(self._styled(escaped(text), Style.FAINT), "")

    def _styled(self, content: str, style: Style) -> str:
        look = STYLES.get(style)
        return f'<span style="{look}">{content}</span>' if look else content


def escaped_lines(lines: Sequence[str]) -> str:
    """Lines as text of HTML."""
    return "\n".join(map(escaped, lines))


def _table_cell(name: str, content: str, side: Align) -> str:
    return f'<{name} style="text-align:{side};padding:.1em .8em .1em 0">{content}</{name}>'
