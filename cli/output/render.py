"""The one place that writes: results to stdout, warnings to stderr.

A terminal gets aligned tables in colour (`terminal.py`); a pipe gets every value, separated by
tabs, without colour, box lines or truncation; `--json` gets one strict JSON object.
"""

import json
import os
import re
import shutil
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from telemetry import json_values
from telemetry.cli.options import Settings
from telemetry.cli.output import sparklines
from telemetry.cli.output.grid import Cell, Grid, Span, Word, span
from telemetry.cli.output.texts import cells, in_ascii
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.json_values import Json
from telemetry.safe_text import clean, clean_lines

SCHEMA_VERSION = 1
MAX_WIDTH = 99  # columns; longer lines are hard to follow, --wide lifts it
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")
LABEL_WIDTH = 10  # of a labelled paragraph
TREND_WIDTH = 12  # characters of a sparkline


class Screen(ABC):
    """Somewhere to show results."""

    for_people = False  # a terminal shows the first rows of a long table, a pipe all
    keeps_warnings = False  # whether the result must hold them, since stderr is not kept with it
    trend_width = TREND_WIDTH

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._unicode = knows_unicode()

    @property
    def wants_json(self) -> bool:
        """Whether the result is one JSON object instead of a screen."""
        return self._settings.output_json

    @abstractmethod
    def line(self, *cells: Cell) -> None:
        """One line of the result; in a pipe its cells are separated by tabs."""

    @abstractmethod
    def note(self, *cells: Cell) -> None:
        """A line for people only: titles, legends, what to try next."""

    @abstractmethod
    def paragraph(self, text: str, *, indent: int = 0, label: str = "") -> None:
        """A sentence, folded at the width of a terminal; `label` stands before it."""

    @abstractmethod
    def verbatim(self, text: str, *, indent: int = 0, label: str = "") -> None:
        """Something to copy, such as a command: never broken into lines."""

    @abstractmethod
    def grid(self, grid: Grid, *, indent: int = 2) -> int:
        """A table; returns how many of its columns a narrow terminal has no place for."""

    def figure(self, lines: Sequence[str]) -> None:
        """A picture of characters, for people only."""
        for line in lines:
            self.note(line)

    def drawing(self, lines: Sequence[str]) -> None:
        """A picture of characters in colours, which escape sequences bring; here without them."""
        self.figure([ESCAPES.sub("", line).rstrip() for line in lines])

    @abstractmethod
    def picture(self, rows: Sequence[Sequence[str]], marks: Sequence[str]) -> None:
        """An image.

        Args:
            rows: Of `#rrggbb`, for people who see colours.
            marks: Lines of characters that say the same without them.
        """

    @abstractmethod
    def words(self, words: Sequence[Word], *, label: str) -> None:
        """A text whose words are marked, in their colours where people see these."""

    def blank(self) -> None:
        """An empty line between parts, for people only."""
        self.note("")

    @property
    def knows_colours(self) -> bool:
        """Whether `drawing` keeps its colours."""
        return False

    @property
    def width(self) -> int:
        """Columns to use."""
        return terminal_width(self._settings)

    @property
    def knows_unicode(self) -> bool:
        """Whether this output knows more than ASCII."""
        return self._unicode

    def known(self, text: str) -> str:
        """Our own text in characters that this output knows."""
        return text if self._unicode else in_ascii(text)

    @property
    def levels(self) -> str:
        """The characters of a sparkline, from low to high, that this output knows."""
        return sparklines.BLOCKS if self._unicode else sparklines.ASCII_LEVELS

    def trend(self, values: Sequence[float | None]) -> Span:
        """A sparkline in the characters that this output knows."""
        few = sparklines.condense(values, self.trend_width)
        return Span(sparklines.sparkline(few, levels=self.levels))

    def json(self, document: Mapping[str, Json], *, indent: int | None = 2) -> None:
        """One strict JSON object with its schema version."""
        text = json_values.dumps({"schema_version": SCHEMA_VERSION, **document}, indent=indent)
        write(safe_json(text, ascii_only=not self._unicode))

    def tell(self, message: str) -> None:
        """What will be done, on stderr."""
        _tell(f"telemetry: {message}")

    def warn(self, message: str) -> None:
        """Something the reader must know that is not part of the result."""
        warn(message)


class PlainScreen(Screen):
    """A pipe or a file: tabs, every value whole, nothing else."""

    def picture(self, rows: Sequence[Sequence[str]], marks: Sequence[str]) -> None:
        """The image in characters."""
        del rows
        for line in marks:
            write(clean(line))

    def words(self, words: Sequence[Word], *, label: str) -> None:
        """The words with their marks, on one line."""
        self.paragraph(marked(words), label=label)

    def line(self, *cells: Cell) -> None:
        """One line, cells separated by tabs."""
        write("\t".join(map(_piped, cells)).rstrip("\t"))

    def note(self, *cells: Cell) -> None:
        """Nothing: a program does not read titles."""

    def paragraph(self, text: str, *, indent: int = 0, label: str = "") -> None:
        """The label and the sentence, unfolded, in as many leading cells as it is indented."""
        del indent
        self.line(*([label] if label else []), text)

    def verbatim(self, text: str, *, indent: int = 0, label: str = "") -> None:
        """The label and the text."""
        self.paragraph(text, indent=indent, label=label)

    def grid(self, grid: Grid, *, indent: int = 2) -> int:
        """Header and rows, with every column."""
        del indent
        write("\t".join(clean(column.header) for column in grid.columns))
        for row in grid.rows:
            write("\t".join(map(_piped, row)))
        return 0


def open_screen(settings: Settings) -> Screen:
    """The screen that fits stdout; rich is imported for a terminal only.

    Raises:
        UsageError: two forms are asked for at once.
    """
    if settings.output_markdown:
        if settings.output_json:
            raise UsageError("--json and --markdown exclude each other; choose one.")
        from telemetry.cli.output.markdown import MarkdownScreen  # noqa: PLC0415 - it is a Screen itself

        return MarkdownScreen(settings)
    if not is_terminal() or settings.output_json:
        return PlainScreen(settings)
    from telemetry.cli.output.terminal import TerminalScreen  # noqa: PLC0415 - rich costs 0.1 s

    return TerminalScreen(settings)


def is_terminal() -> bool:
    """Whether a person reads stdout."""
    return sys.stdout.isatty()


def knows_unicode() -> bool:
    """Whether stdout takes more than ASCII; Python calls even LC_ALL=C UTF-8 (PEP 540)."""
    if os.environ.get("LC_ALL") in {"C", "POSIX"}:
        return False
    return (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"


def terminal_width(settings: Settings) -> int:
    """Columns to use."""
    columns = shutil.get_terminal_size((80, 24)).columns
    return columns if settings.wide else min(columns, MAX_WIDTH)


def leading(*, indent: int, label: str) -> str:
    """What stands before a labelled text."""
    padded = f"{label:<{LABEL_WIDTH}}" if len(label) < LABEL_WIDTH else f"{label}  "
    return " " * indent + (padded if label else "")


def fold(text: str, *, width: int, indent: int, label: str) -> list[str]:
    """A sentence in lines of at most `width` cells, its label in a column of its own.

    A number is one word: the blanks between its thousands do not part it.
    """
    first = leading(indent=indent, label=label)
    most = max(width, len(first) + 20)
    lines: list[str] = []
    line = ""
    for word in re.split(r"(?<!\d)\s+|\s+(?!\d{3}(?!\d))", clean(text).strip()):
        if line and len(first) + cells(f"{line} {word}") > most:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    folded = [*lines, line]
    return [
        f"{first if not place else ' ' * len(first)}{one}".rstrip()
        for place, one in enumerate(folded)
    ]


def write(text: str) -> None:
    """A line on stdout."""
    print(text if knows_unicode() else in_ascii(text))  # noqa: T201 - the one writer of results


def write_file(path: Path, text: str) -> None:
    """A result in a file of its own, which is replaced.

    Raises:
        StoreUnreadable: the file cannot be written.
    """
    _write_file(path, text, mode="w")


def append_to_file(path: Path, text: str) -> None:
    """A result after what a file holds already.

    Raises:
        StoreUnreadable: the file cannot be written.
    """
    _write_file(path, text, mode="a")


def _write_file(path: Path, text: str, *, mode: str) -> None:
    try:
        with path.open(mode, encoding="utf-8", errors="backslashreplace", newline="\n") as stream:
            stream.write(text)
    except OSError as error:
        raise StoreUnreadable(f"{path} cannot be written: {error.strerror}.") from error


def write_over(text: str) -> None:
    """The last line of a terminal, cut at its width, in place of what it showed before."""
    width = shutil.get_terminal_size((80, 24)).columns - 1
    sys.stderr.write(f"\r\x1b[2K{text[:width]}")
    sys.stderr.flush()


def warn(message: str) -> None:
    """A warning on stderr."""
    _tell(f"telemetry: warning: {message}")


def complain(message: str, hint: str) -> None:
    """The error that ends the command, and what to do about it."""
    _tell(f"telemetry: error: {message}")
    if hint:
        _tell(hint, indent=2)


def _tell(message: str, *, indent: int = 0) -> None:
    """A message on stderr, whose lines a terminal gets folded between words."""
    for line in clean_lines(message).split("\n"):
        shown = _folded(line, indent=indent) if sys.stderr.isatty() else " " * indent + line
        print(shown, file=sys.stderr)  # noqa: T201 - the one writer


def _folded(line: str, *, indent: int) -> str:
    width = min(shutil.get_terminal_size((80, 24)).columns, MAX_WIDTH)
    first, *rest = fold(line, width=width - 2, indent=indent, label="")
    return "\n".join([first, *(f"  {more}" for more in rest)])


def marked(words: Sequence[Word]) -> str:
    """A text whose marks stand behind its words, as `good(+1.2)`."""
    return " ".join(f"{word.text}({word.mark})" if word.mark else word.text for word in words)


def _piped(cell: Cell) -> str:
    piece = span(cell)
    return clean(piece.text if piece.piped is None else piece.piped)


def safe_json(text: str, *, ascii_only: bool) -> str:
    """JSON text whose strings hold no control characters, and only ASCII if so wished."""

    def written(character: str) -> str:
        stays = character == "\n" or clean(character) == character
        if stays and (character.isascii() or not ascii_only):
            return character
        return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"

    plain = text.isascii() and "\x7f" not in text
    return text if plain else "".join(map(written, text))
