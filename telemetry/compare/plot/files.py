"""A plot as a file: SVG and HTML by the standard library, PNG by matplotlib, an extra."""

import io
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.answer_page import document
from telemetry.answer_page.curves import HEIGHT, WIDTH, Chart, in_svg
from telemetry.answer_page.curves import Curve as DrawnCurve
from telemetry.answer_page.html import Cell, figure, number, numeric, paragraph, table
from telemetry.compare.plot.plot import Plot, PlottedCurve, PlottedMetric
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.runs import publish_bytes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FEW_POINTS = 40  # up to which each is marked
SMOOTHED = "Mean over the tenth of the curve that ends at each step."
# A file that stands alone has no page to take its colours from; these are those of paper.
COLOURS = {
    "ink": "#1c1c1c",
    "faint": "#5c5c5c",
    "line": "#d0d0d0",
    "for": "#2166ac",
    "against": "#b35806",
    "shade": "#88888833",
}
PNG_DPI = 150
TITLE_RUNS = 3
LINE_STYLES = ("-", "--", ":", "-.")  # colour is never all that tells curves apart
VARIABLE = re.compile(r"var\(--(\w+)\)")


def write_plot(plot: Plot, path: Path) -> int:
    """Write a picture, or replace it; the ending of the name says which kind.

    Returns:
        Bytes written.

    Raises:
        UsageError: another ending, no such folder, or matplotlib is not installed for a PNG.
        StoreUnreadable: the file cannot be written.
    """
    make = WRITERS.get(path.suffix.lower())
    if make is None:
        endings = ", ".join(WRITERS)
        raise UsageError(f"{path}: a picture ends in one of {endings}; choose one of them.")
    if not path.parent.is_dir():
        raise UsageError(f"{path.parent} is not a folder; create it, or name another file.")
    content = make(plot)
    try:
        publish_bytes(path, content)
    except OSError as error:
        raise StoreUnreadable(f"{path} cannot be written: {error.strerror}.") from error
    return len(content)


def in_html(plot: Plot) -> bytes:
    """A page that needs nothing else: a chart and a table for each metric."""
    parts = []
    for place, metric in enumerate(plot.metrics):
        caption = SMOOTHED if any(curve.is_smoothed for curve in metric.curves) else ""
        drawn = in_svg(_chart(metric), f"chart-{place}")
        parts.append(figure(drawn, caption) if drawn else paragraph(_nothing(metric), "note"))
        rows = [
            [Cell(_label(curve)), numeric(number(curve.last)), numeric(number(curve.best))]
            for curve in metric.curves
        ]
        parts.append(table(metric.name, ("run", "last", "best"), rows))
    return document(_title(plot), parts).encode()


def in_standalone_svg(plot: Plot) -> bytes:
    """The charts below one another, in colours of paper."""
    parts, top = [], 0
    for place, metric in enumerate(plot.metrics):
        drawn = in_svg(_chart(metric), f"chart-{place}")
        height = _height(drawn)
        if drawn:
            placed = f'<svg y="{top}" width="{WIDTH}" height="{height}" '
            parts.append(drawn.replace("<svg ", placed, 1))
            top += height
    if not parts:
        raise UsageError(_nothing(plot.metrics[0]))
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" width="{WIDTH}" '
        f'height="{top}"><style>text{{fill:{COLOURS["ink"]};font:12px sans-serif}}</style>'
        '<rect width="100%" height="100%" fill="#ffffff"/>'
    )
    text = VARIABLE.sub(lambda found: COLOURS[found[1]], "".join([head, *parts, "</svg>\n"]))
    return text.encode()


def in_png(plot: Plot) -> bytes:
    """The charts below one another.

    Raises:
        UsageError: matplotlib is not installed.
    """
    target = io.BytesIO()
    in_figure(plot).savefig(target, format="png", dpi=PNG_DPI)
    return target.getvalue()


def in_figure(plot: Plot) -> "Figure":
    """The charts below one another, as a figure of matplotlib to go on with.

    Raises:
        UsageError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and it takes a second
    except ImportError as error:
        raise UsageError(
            "this needs matplotlib: pip install 'training-telemetry[plot]', or use an SVG."
        ) from error
    n = len(plot.metrics)
    drawn = Figure(figsize=(8, 3.5 * n), layout="constrained")
    for place, metric in enumerate(plot.metrics, start=1):
        axes = drawn.add_subplot(n, 1, place)
        for number_of, curve in enumerate(metric.curves):
            style = LINE_STYLES[number_of % len(LINE_STYLES)]
            marker = "." if curve.steps.size <= FEW_POINTS else ""
            label = _label(curve).replace("$", r"\$")  # else it would be mathematics
            axes.plot(curve.steps, curve.values, marker=marker, linestyle=style, label=label)
        axes.set(xlabel="step", ylabel=metric.name.replace("$", r"\$"))
        axes.legend(fontsize="small")
    return drawn


WRITERS: Mapping[str, Callable[[Plot], bytes]] = {
    ".svg": in_standalone_svg,
    ".html": in_html,
    ".png": in_png,
}


def _chart(metric: PlottedMetric) -> Chart:
    return Chart(
        title=metric.name,
        description=" ".join(f"{_label(one)}: last {one.last:.4g}." for one in metric.curves),
        x_label="step",
        y_label=metric.name,
        curves=[
            DrawnCurve(
                name=_label(curve),
                points=[
                    (float(step), value)
                    for step, value in zip(curve.steps, curve.values.tolist(), strict=True)
                    if math.isfinite(value)
                ],
                has_dots=curve.steps.size <= FEW_POINTS,
            )
            for curve in metric.curves
        ],
    )


def _label(curve: PlottedCurve) -> str:
    return f"{curve.run.short} {curve.run.name}"


def _nothing(metric: PlottedMetric) -> str:
    return f"{metric.name} has no finite value to draw."


def _height(svg: str) -> int:
    """Of the box of a chart; 0 where nothing was drawn."""
    found = re.search(r'viewBox="0 0 \d+ (\d+)"', svg)
    return int(found[1]) if found else HEIGHT if svg else 0


def _title(plot: Plot) -> str:
    names = ", ".join(f"{run.short} {run.name}" for run in plot.runs[:TITLE_RUNS])
    more = len(plot.runs) - TITLE_RUNS
    return f"{names} and {more} more" if more > 0 else names
