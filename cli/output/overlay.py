"""Two courses in one picture of characters, the base behind the candidate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from telemetry.cli.output.sparklines import NAN

HEIGHT = 6  # lines
SCALED_BY = 0.5  # of the picture, its later part: what was long before dwarfs what differs now


@dataclass(frozen=True, slots=True, kw_only=True)
class Glyphs:
    """What stands for a value of the base, of the candidate, and for both in one place."""

    base: str
    candidate: str
    both: str


UNICODE = Glyphs(base="·", candidate="●", both="◆")
ASCII = Glyphs(base=".", candidate="o", both="#")


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """Lines of equal length from top to bottom; `low` and `high` are the ends of the scale."""

    lines: tuple[str, ...]
    low: float
    high: float


def overlay(
    base: Sequence[float | None],
    candidate: Sequence[float | None],
    *,
    glyphs: Glyphs = UNICODE,
    height: int = HEIGHT,
) -> Picture | None:
    """Both courses on the scale of their later half; earlier values beyond it are not drawn.

    Args:
        base: One value a column; None where there is none.
        candidate: The same, as many.
        glyphs: Characters to draw with; a value that is not finite is an `x` on the top line.
        height: Lines.

    Returns:
        None where no finite value is to be drawn.
    """
    start = int(len(base) * SCALED_BY)
    later = [value for side in (base, candidate) for value in side[start:]]
    finite = [value for value in later if value is not None and math.isfinite(value)]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    grid = [[" "] * len(base) for _ in range(height)]
    for side, glyph in ((base, glyphs.base), (candidate, glyphs.candidate)):
        for column, value in enumerate(side):
            line = _line(value, low, high, height)
            if line is None:
                continue
            if value is not None and not math.isfinite(value):
                grid[line][column] = NAN
            else:
                grid[line][column] = glyph if grid[line][column] == " " else glyphs.both
    lines = tuple("".join(cells) for cells in grid)
    return Picture(lines=lines, low=low, high=high)


def _line(value: float | None, low: float, high: float, height: int) -> int | None:
    """Counted from the top; None where nothing is drawn."""
    if value is None:
        return None
    if not math.isfinite(value):
        return 0
    if not low <= value <= high:
        return None
    span = high / 2 - low / 2  # halves: the span of two extremes of a double may overflow
    share = (value / 2 - low / 2) / span if span > 0 else 0.5
    return min(height - 1, int((1 - share) * height))
