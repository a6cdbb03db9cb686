"""Screens for people: aligned columns, colour, and never wider than the terminal."""

import os
from collections.abc import Sequence
from itertools import zip_longest

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from telemetry.cli.options import Settings
from telemetry.cli.output import render
from telemetry.cli.output.grid import Cell, Column, Grid, Word, span
from telemetry.cli.output.palette import nearest
from telemetry.safe_text import clean

COLUMN_GAP = 2
UPPER_HALF = "\u2580"
NARROW_WIDTH, NARROW_TREND_WIDTH = 90, 8  # trends give way before columns are left out


class TerminalScreen(render.Screen):
    """A terminal, by rich."""

    for_people = True

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._width = render.terminal_width(settings)
        if self._width < NARROW_WIDTH:
            self.trend_width = NARROW_TREND_WIDTH
        self._console = Console(
            width=self._width,
            force_terminal=True,
            color_system="standard" if settings.color else None,
            no_color=not settings.color,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=False,
            legacy_windows=False,
        )

    def line(self, *cells: Cell) -> None:
        """One line; a longer one is folded between words."""
        self._console.print(self._text(*cells))

    def note(self, *cells: Cell) -> None:
        """A line for people."""
        self.line(*cells)

    def paragraph(self, text: str, *, indent: int = 0, label: str = "") -> None:
        """A sentence folded under itself."""
        for line in render.fold(self.known(text), width=self._width, indent=indent, label=label):
            self._console.print(Text(line), soft_wrap=True)

    def verbatim(self, text: str, *, indent: int = 0, label: str = "") -> None:
        """One line that the terminal itself wraps, so that it is copied whole."""
        line = render.leading(indent=indent, label=label) + clean(text)
        self._console.print(Text(line), soft_wrap=True)

    def grid(self, grid: Grid, *, indent: int = 2) -> int:
        """Columns two blanks apart; what does not fit is left out by rank, then shortened."""
        widths = [
            max(cell_len(clean(span(cell).text)) for cell in (column.header, *cells))
            for column, *cells in zip(grid.columns, *grid.rows, strict=True)
        ]
        kept = fitting(grid.columns, widths, self._width - indent)
        table = Table(box=None, pad_edge=False, padding=(0, COLUMN_GAP, 0, 0), header_style="bold")
        for index in kept:
            column = grid.columns[index]
            table.add_column(
                Text(clean(column.header)), justify=column.align.value, no_wrap=not column.shrinks
            )
        for row in grid.rows:
            table.add_row(*(self._text(row[i], one_line=not grid.columns[i].folds) for i in kept))
        self._console.print(Padding(table, (0, 0, 0, indent), expand=False))
        return len(grid.columns) - len(kept)

    @property
    def knows_colours(self) -> bool:
        """Unless they were refused."""
        return self._settings.color

    def drawing(self, lines: Sequence[str]) -> None:
        """Each line in its colours."""
        if not self.knows_colours:
            super().drawing(lines)
            return
        for line in lines:
            self._console.print(Text.from_ansi(line), soft_wrap=True)

    def picture(self, rows: Sequence[Sequence[str]], marks: Sequence[str]) -> None:
        """Two pixels a character, the lower one as background; else the image in characters."""
        if rows and self._settings.color and self._unicode:
            step = -(-len(rows[0]) // max(1, self._width - COLUMN_GAP))
            few = [[_shown(colour) for colour in row[::step]] for row in rows[::step]]
            for upper, lower in zip_longest(few[::2], few[1::2]):
                line = Text("  ")
                for place, colour in enumerate(upper):
                    below = f" on {lower[place]}" if lower else ""
                    line.append(UPPER_HALF, style=colour + below)
                self._colours.print(line)
        else:
            for marked in marks:
                self._console.print(Text("  " + clean(marked)), soft_wrap=True)

    def words(self, words: Sequence[Word], *, label: str) -> None:
        """Each word on its colour, its mark behind it; without colours in brackets."""
        if not self._settings.color:
            self.paragraph(render.marked(words), indent=2, label=label)
            return
        text = Text(overflow="fold")
        for word in words:
            style = f"{_shown(word.ink)} on {_shown(word.colour)}"
            text.append(clean(word.text) or " ", style=style)
            text.append(f"{clean(word.mark)} " if word.mark else " ")
        if label:
            self.line(f"  {label}")
        self._colours.print(Padding(text, (0, 0, 0, COLUMN_GAP), expand=False))

    @property
    def _colours(self) -> Console:
        """A console for what has colours of its own, which `_shown` has chosen."""
        return Console(
            width=self._width,
            force_terminal=True,
            color_system="truecolor",
            highlight=False,
            markup=False,
            emoji=False,
            legacy_windows=False,
        )

    def _text(self, *cells: Cell, one_line: bool = False) -> Text:
        text = Text(
            no_wrap=one_line,
            overflow=("ellipsis" if self._unicode else "crop") if one_line else "fold",
        )
        for index, cell in enumerate(cells):
            piece = span(cell)
            text.append(" " * (COLUMN_GAP if index else 0))
            text.append(clean(self.known(piece.text)), style=piece.style.value)
        return text


def _has_true_colours() -> bool:
    return os.environ.get("COLORTERM", "").lower() in {"truecolor", "24bit"}


def _shown(colour: str) -> str:
    """`#rrggbb` as this terminal can show it; a terminal that says nothing knows 256 colours."""
    return colour if _has_true_colours() else f"color({nearest(colour)})"


def fitting(columns: tuple[Column, ...], widths: list[int], width: int) -> list[int]:
    """Indices of the columns that fit, leaving out the highest rank first.

    Args:
        columns: The columns, in order.
        widths: Natural width of each, header included.
        width: Columns of the terminal that are free.
    """
    # A column of nothing would get one cell from rich, taken from its neighbours.
    kept = [index for index, natural in enumerate(widths) if natural]
    needed = [
        min(natural, max(column.least, cell_len(column.header))) if column.shrinks else natural
        for column, natural in zip(columns, widths, strict=True)
    ]
    while sum(needed[index] + COLUMN_GAP for index in kept) - COLUMN_GAP > width:
        droppable = [index for index in kept if columns[index].rank > 0]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda index: (columns[index].rank, index)))
    return kept
