"""What `telemetry plot` shows: a chart for each metric, and its numbers below it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from telemetry.answer_page.curves import ticks
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style
from telemetry.cli.output.render import Screen
from telemetry.safe_text import clean

if TYPE_CHECKING:
    from telemetry.compare.plot.plot import Plot, PlottedCurve, PlottedMetric

HEIGHT, LINES_BELOW = 16, 8  # lines of a chart, and below its legend
SHOWN_NAME = 24  # characters of a run's name in a legend
BRAILLE = "braille"
LETTERS = "abcdefghijklmnopqrst"  # what draws each run where colours cannot tell them apart
COLOURS = (
    "blue+",
    "orange+",
    "green+",
    "red+",
    "magenta+",
    "cyan+",
    "gray+",
    "red",
    "green",
    "blue",
)
FRAME = str.maketrans("┌┐└┘─│├┤┬┴┼", "++++-|+++++")


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """Where a chart is drawn: columns and lines, and what they can show."""

    width: int
    height: int
    has_colours: bool
    has_unicode: bool


def show(screen: Screen, plot: "Plot") -> None:
    """Charts for people; a pipe gets every point."""
    if not screen.for_people:
        screen.grid(_points(plot))
        return
    for metric in plot.metrics:
        screen.line(Span(metric.name, Style.STRONG))
        lines = chart_lines(_canvas(screen, metric), metric)
        if lines:
            screen.drawing(lines)
        screen.grid(_ends(screen, metric))
        screen.blank()
    if any(curve.is_smoothed for metric in plot.metrics for curve in metric.curves):
        text = (
            "smoothed: each point is the mean over the tenth of the curve before it; --raw is not"
        )
        screen.note(Span(text, Style.FAINT))


def _canvas(screen: Screen, metric: "PlottedMetric") -> Canvas:
    return Canvas(
        width=screen.width,
        height=max(HEIGHT, len(metric.curves) + LINES_BELOW),
        has_colours=screen.knows_colours,
        has_unicode=screen.knows_unicode,
    )


def chart_lines(canvas: Canvas, metric: "PlottedMetric") -> list[str]:
    """The curves of a metric in characters; nothing where no value is finite."""
    import plotext  # noqa: PLC0415 - keeps --help fast

    drawn = {place: one for place, one in enumerate(metric.curves) if np.isfinite(one.values).any()}
    if not drawn:
        return []
    plotext.clear_figure()
    plotext.theme("clear")
    plotext.plotsize(canvas.width, canvas.height)
    for place, curve in drawn.items():
        known = np.isfinite(curve.values)
        plotext.plot(
            curve.steps[known].tolist(),
            curve.values[known].tolist(),
            label=_label(curve) if len(drawn) > 1 else None,
            marker=_marker(canvas, place, n_curves=len(metric.curves)),
            color=COLOURS[place % len(COLOURS)] if canvas.has_colours else "default",
        )
    first = min(int(curve.steps[0]) for curve in drawn.values())
    last = max(int(curve.steps[-1]) for curve in drawn.values())
    places = [place for place in ticks(first, max(last, first + 1)) if place == round(place)]
    plotext.xticks(places, [numbers.count(round(place)) for place in places])
    text = plotext.build()
    lines = [line.rstrip() for line in str(text).splitlines()]
    return lines if canvas.has_unicode else [line.translate(FRAME) for line in lines]


def _marker(canvas: Canvas, place: int, *, n_curves: int) -> str:
    """Dots within characters where they suffice to tell the curves apart, else a letter."""
    has_dots = canvas.has_unicode and (n_curves == 1 or canvas.has_colours)
    return BRAILLE if has_dots else LETTERS[place % len(LETTERS)]


def _label(curve: "PlottedCurve") -> str:
    return clean(f"{curve.run.short} {curve.run.name[:SHOWN_NAME]}")


def _ends(screen: Screen, metric: "PlottedMetric") -> Grid:
    """What each curve came to."""
    n_curves = len(metric.curves)
    has_letters = _marker(_canvas(screen, metric), 1, n_curves=n_curves) != BRAILLE
    columns = (
        Column(header="RUN"),
        Column(header="NAME", shrinks=True),
        Column(header="LAST", align=Align.RIGHT),
        Column(header="BEST", align=Align.RIGHT),
        Column(header="STEPS", align=Align.RIGHT),
        Column(header="DRAWN" if has_letters else ""),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            curve.run.short,
            curve.run.name,
            numbers.number(curve.last),
            numbers.number(curve.best),
            numbers.steps(int(curve.steps[0]), int(curve.steps[-1])),
            LETTERS[place % len(LETTERS)] if has_letters else "",
        )
        for place, curve in enumerate(metric.curves)
    )
    return Grid(columns=columns, rows=rows)


def _points(plot: "Plot") -> Grid:
    columns = tuple(Column(header=name) for name in ("METRIC", "RUN", "STEP", "VALUE"))
    rows = tuple(row for metric in plot.metrics for row in _rows(metric))
    return Grid(columns=columns, rows=rows)


def _rows(metric: "PlottedMetric") -> Sequence[tuple[Cell, ...]]:
    return [
        (metric.name, curve.run.short, str(step), repr(value))
        for curve in metric.curves
        for step, value in zip(curve.steps.tolist(), curve.values.tolist(), strict=True)
    ]
