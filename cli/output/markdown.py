"""Screens as GitHub-flavoured Markdown, for comments on pull requests and summaries of jobs.

Names come from files that anybody may have written: nothing in them may become a heading, an HTML
tag, a link that hides where it leads, or a mention of somebody.
"""

import re
from collections.abc import Callable, Sequence
from enum import StrEnum

from telemetry.cli.options import Settings
from telemetry.cli.output import render
from telemetry.cli.output.grid import Align, Cell, Grid, Style, Word, span
from telemetry.safe_text import clean

RULES = {Align.LEFT: ":---", Align.RIGHT: "---:"}
BOLD_STYLES = frozenset({Style.STRONG, Style.ERROR})
SPECIAL = re.compile(r"[\\`*\[\]<>|~#&]|(?<!\w)_|_(?!\w)")  # an underscore within a word is plain
LIST_MARK = re.compile(r"^([-+]|\d+(?=[.)]))")


class Block(StrEnum):
    """What was written last: between two kinds stands an empty line."""

    NOTHING = "nothing"
    LIST = "list"
    OTHER = "other"


class MarkdownScreen(render.Screen):
    """Text for people who read it in a browser: lists and tables, long ones cut as on a terminal.

    Args:
        settings: The common options.
        write: Takes one line at a time.
    """

    for_people = True
    keeps_warnings = True

    def __init__(self, settings: Settings, write: Callable[[str], None] = render.write) -> None:
        super().__init__(settings)
        self._write = write
        self._last = Block.NOTHING

    def line(self, *cells: Cell) -> None:
        """A paragraph of its own; what is strong on a terminal is bold."""
        self._block(Block.OTHER, [" ".join(filter(None, map(_inline, cells)))])

    def note(self, *cells: Cell) -> None:
        """A paragraph in italics, nothing where it is empty."""
        text = " ".join(escaped(span(cell).text.strip()) for cell in cells).strip()
        if text:
            self._block(Block.OTHER, [f"*{text}*"])

    def paragraph(self, text: str, *, indent: int = 0, label: str = "") -> None:
        """A sentence; with a label, an entry of a list."""
        del indent
        if label:
            self._block(Block.LIST, [f"- **{escaped(label)}** {escaped(text)}"])
        else:
            self._block(Block.OTHER, [LIST_MARK.sub(r"\\\1", escaped(text))])

    def verbatim(self, text: str, *, indent: int = 0, label: str = "") -> None:
        """A code span, which a longer fence than any within it encloses."""
        del indent
        longest = max(map(len, re.findall("`+", text)), default=0)
        fence = "`" * (longest + 1)
        code = f"{fence} {clean(text)} {fence}" if longest else f"`{clean(text)}`"
        self._block(Block.LIST, [f"- **{escaped(label)}** {code}" if label else f"- {code}"])

    def figure(self, lines: Sequence[str]) -> None:
        """A block of code, in which characters keep their places."""
        self._block(Block.OTHER, ["```text", *map(clean, lines), "```"])

    def grid(self, grid: Grid, *, indent: int = 2) -> int:
        """A table with every column."""
        del indent
        header = [escaped(column.header) for column in grid.columns]
        rules = [RULES[column.align] for column in grid.columns]
        rows = [[_inline(cell) for cell in row] for row in grid.rows]
        self._block(Block.OTHER, [_row(cells) for cells in (header, rules, *rows)])
        return 0

    def picture(self, rows: Sequence[Sequence[str]], marks: Sequence[str]) -> None:
        """The image in characters, as a block of code."""
        del rows
        if marks:
            self._block(Block.OTHER, ["```text", *map(clean, marks), "```"])

    def words(self, words: Sequence[Word], *, label: str) -> None:
        """The words with their marks."""
        self.paragraph(render.marked(words), label=label)

    def _block(self, kind: Block, lines: Sequence[str]) -> None:
        joined = self._last is Block.NOTHING or self._last is kind is Block.LIST
        for line in lines if joined else ("", *lines):
            self._write(line)
        self._last = kind


def escaped(text: str) -> str:
    r"""Text that Markdown shows as it is: `a|b` is `a\|b`, and `@name` calls nobody."""
    return SPECIAL.sub(r"\\\g<0>", clean(text)).replace("@", "@<!-- -->")


def _inline(cell: Cell) -> str:
    piece = span(cell)
    text = escaped(piece.text.strip())
    return f"**{text}**" if text and piece.style in BOLD_STYLES else text


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
