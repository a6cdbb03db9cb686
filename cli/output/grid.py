"""What a screen is made of, before anything is known about the terminal: spans, columns, grids."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from telemetry.cli.output import numbers
from telemetry.diagnose.finding import Severity


class Style(StrEnum):
    """Meaning of a colour; never the only carrier of it."""

    PLAIN = ""
    STRONG = "bold"
    FAINT = "dim"
    ERROR = "bold red"
    WARNING = "yellow"
    INFO = "cyan"
    GOOD = "green"


SEVERITY_STYLES = {
    Severity.ERROR: Style.ERROR,
    Severity.WARNING: Style.WARNING,
    Severity.INFO: Style.INFO,
}
SEVERITY_MARKS = {Severity.ERROR: "E", Severity.WARNING: "W", Severity.INFO: "i"}


@dataclass(frozen=True, slots=True)
class Span:
    """A piece of one line; `piped` is its text where a program reads, when that differs."""

    text: str
    style: Style = Style.PLAIN
    piped: str | None = None


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text with what is said of it; `ink` on `colour`, both `#rrggbb`."""

    text: str
    mark: str
    colour: str
    ink: str


Cell: TypeAlias = "str | Span"


class Align(StrEnum):
    """Side of a column that its cells keep to."""

    LEFT = "left"
    RIGHT = "right"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a grid.

    Attributes:
        header: Its title; measured columns are upper case.
        align: Numbers keep right.
        shrinks: Texts that may end in an ellipsis when the terminal is narrow.
        least: Cells of a shrunk text that still tell two rows apart.
        folds: Sentences that go on in the next line instead.
        rank: 0 stays; of the others the highest rank is left out first when they do not fit.
    """

    header: str
    align: Align = Align.LEFT
    shrinks: bool = False
    least: int = 14
    folds: bool = False
    rank: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table; each row has one cell a column."""

    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


def span(cell: Cell) -> Span:
    """The cell with its style."""
    return Span(cell) if isinstance(cell, str) else cell


def counted(value: int, style: Style = Style.PLAIN) -> Span:
    """A count: `10 000` for people, `10000` for programs."""
    return Span(numbers.count(value), style, piped=str(value))


def mark(severity: Severity) -> Span:
    """Letter for a severity: `E`, `W` or `i`."""
    return Span(SEVERITY_MARKS[severity], SEVERITY_STYLES[severity])
