"""Screens as pieces of HTML: what those of a page and of a notebook have in common."""

from abc import abstractmethod
from collections.abc import Sequence

from telemetry.answer_page.html import element, escaped
from telemetry.cli.options import Settings
from telemetry.cli.output import render
from telemetry.cli.output.grid import Cell, Style, Word, span


class MarkupScreen(render.Screen):
    """Collects pieces of HTML; how they look is for those below.

    Args:
        settings: The common options.
    """

    for_people = True
    keeps_warnings = True
    gap = " "  # between the cells of a line
    label_kind = ""  # class of a label

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._pieces: list[str] = []

    @property
    def html(self) -> str:
        """What was shown so far."""
        return "\n".join(self._pieces)

    def line(self, *cells: Cell) -> None:
        """A line whose cells stand apart."""
        self._add(self.gap.join(filter(None, map(self._inline, cells))), "line")

    def note(self, *cells: Cell) -> None:
        """A line in the background, nothing where it is empty."""
        text = " ".join(span(cell).text.strip() for cell in cells).strip()
        if text:
            self._add_note(text)

    def paragraph(self, text: str, *, indent: int = 0, label: str = "") -> None:
        """A sentence, its label in front of it."""
        self._add(self._label(label) + escaped(text), "", indent=indent)

    def verbatim(self, text: str, *, indent: int = 0, label: str = "") -> None:
        """Something to copy."""
        code = element("code", escaped(text))
        self._add(self._label(label) + code, "wide", indent=indent)

    def words(self, words: Sequence[Word], *, label: str) -> None:
        """The words with their marks."""
        self.paragraph(render.marked(words), label=label)

    def _inline(self, cell: Cell) -> str:
        piece = span(cell)
        text = escaped(piece.text.strip())
        return self._styled(text, piece.style) if text else text

    def _label(self, label: str) -> str:
        return f"{element('b', escaped(label), self.label_kind)} " if label else ""

    @abstractmethod
    def _add(self, content: str, kind: str, *, indent: int = 0) -> None:
        """A paragraph of a kind: a line, a sentence, or something wide."""

    @abstractmethod
    def _add_note(self, text: str) -> None:
        """A note; its text is not escaped yet."""

    @abstractmethod
    def _styled(self, content: str, style: Style) -> str:
        """A piece of a line in its style."""
