"""The picture of `telemetry diff`: how the deciding metric went on both sides."""

from collections.abc import Sequence

from telemetry.cli.output import numbers
from telemetry.cli.output.overlay import ASCII, UNICODE, Picture, overlay
from telemetry.cli.output.render import Screen
from telemetry.compare.diff.result import MetricChange
from telemetry.compare.terms import Axis
from telemetry.safe_text import clean

WIDTH = 48  # columns at most; few stretches are drawn several columns wide
FEWEST_POINTS = 4  # fewer say no more than the table
INDENT = 2


def show_course(screen: Screen, metric: MetricChange, axis: Axis) -> None:
    """Base and candidate overlaid, where there are curves to draw."""
    glyphs = UNICODE if screen.knows_unicode else ASCII
    course = metric.trend
    if len(course.base) < FEWEST_POINTS:
        return
    wide = [_widened(side) for side in (course.base, course.candidate)]
    picture = overlay(*wide, glyphs=glyphs)
    if picture is None:
        return
    legend = f"{glyphs.base} base  {glyphs.candidate} candidate  {glyphs.both} both"
    screen.blank()
    screen.figure(
        [f"{' ' * INDENT}{clean(metric.name)}   {legend}", *_framed(picture, metric, axis)]
    )


def _widened(values: Sequence[float | None]) -> list[float | None]:
    return [value for value in values for _ in range(WIDTH // len(values))]


def _framed(picture: Picture, metric: MetricChange, axis: Axis) -> list[str]:
    """The picture with the ends of its scale on the left and of the axis below."""
    ends = {0: numbers.number(picture.high), len(picture.lines) - 1: numbers.number(picture.low)}
    width = max(map(len, ends.values()))
    left = " " * INDENT
    lines = [
        f"{left}{ends.get(index, ''):>{width}} |{line}".rstrip()
        for index, line in enumerate(picture.lines)
    ]
    first, last = (_position(value, axis) for value in (metric.trend.first, metric.trend.last))
    room = len(picture.lines[0]) - len(last)
    return [*lines, f"{left}{' ' * width} |{first:<{room}}{last}"]


def _position(value: float, axis: Axis) -> str:
    """A place on the axis, its unit at the first."""
    if axis is Axis.TIME:
        return numbers.duration(value)
    return f"{axis} {numbers.count(round(value))}"
