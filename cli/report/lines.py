"""Curves of runs over one another: a drawing for each metric."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from telemetry.answer_page.html import escaped
from telemetry.cli.output import numbers
from telemetry.cli.output.texts import plural
from telemetry.cli.report.frame import Frame, Label, at, framed
from telemetry.cli.report.scales import Axis, axis_of
from telemetry.compare.curves.align import Series
from telemetry.compare.curves.thinning import picked
from telemetry.compare.plot.files import SMOOTHED

if TYPE_CHECKING:
    from telemetry.compare.plot.plot import PlottedCurve, PlottedMetric

MOST_POINTS = 800  # of a line: more than a screen has columns for
FEW_POINTS = 40  # up to which each is marked
N_COLOURS = 8
DASHES = ("", "7 4", "2 4")  # colour is never all that tells curves apart


def lines(metric: "PlottedMetric", steps: Axis) -> str:
    """One metric of all runs that recorded it.

    Args:
        metric: What was recorded.
        steps: The horizontal axis, shared by all drawings.
    """
    curves = [_thinned(curve) for curve in metric.curves]
    values = axis_of(
        (value for _, ys in curves for value in ys if math.isfinite(value)), may_be_log=True
    )
    notes = [_broken(curve) for curve in metric.curves]
    said = "; ".join(filter(None, notes))
    if values is None:
        return framed_nothing(metric.name, f"No value is finite: {said}.")
    values = values.with_room()
    shapes = []
    for place, ((xs, ys), curve) in enumerate(zip(curves, metric.curves, strict=True)):
        shapes += _curve(xs, ys, (steps, values), place, label(curve))
    grid = [f'<path class="rule" d="M0 {at(1 - y)}H1000"/>' for y, _ in values.ticks()]
    smoothed = SMOOTHED if any(curve.is_smoothed for curve in metric.curves) else ""
    return framed(
        Frame(
            title=f"{metric.name}{', logarithmic scale' if values.is_log else ''}",
            described=" ".join(_described(curve) for curve in metric.curves),
            shapes=[*grid, *shapes],
            left=[Label(place=1 - y, text=text) for y, text in values.ticks()],
            below=[Label(place=x, text=text) for x, text in steps.ticks()],
            below_name="optimizer step",
            kind="lines",
            data={
                "x": [steps.low, steps.high],
                "y": [values.low, values.high],
                "log": values.is_log,
            },
            key=_key(metric.curves),
            note=" ".join(filter(None, [smoothed, f"{said}." if said else ""])),
        )
    )


def framed_nothing(title: str, reason: str) -> str:
    """What stands in the place of a drawing that would be empty."""
    return (
        f'<figure class="plot"><h3>{escaped(title)}</h3>'
        f'<p class="nothing">{escaped(reason)}</p></figure>'
    )


def label(curve: "PlottedCurve") -> str:
    """Short id and name of the run."""
    return f"{curve.run.short} {curve.run.name}"


def _thinned(curve: "PlottedCurve") -> tuple[list[int], list[float]]:
    few = picked(Series(steps=curve.steps, values=curve.values), MOST_POINTS)
    return few.steps.tolist(), few.values.tolist()


def _curve(
    xs: Sequence[int], ys: Sequence[float], axes: tuple[Axis, Axis], place: int, name: str
) -> list[str]:
    """The line with gaps where a value is not finite, and dots where there are few."""
    steps, values = axes
    parts: list[str] = []
    dots: list[str] = []
    is_open = False
    for x, y in zip(xs, ys, strict=True):
        if not math.isfinite(y):
            is_open = False
            continue
        point = f"{at(steps.share(x))} {at(1 - values.share(y))}"
        parts.append(f"{'L' if is_open else 'M'}{point}")
        dots.append(f"M{point}h0")
        is_open = True
    dash = DASHES[place // N_COLOURS % len(DASHES)]
    pattern = f' stroke-dasharray="{dash}"' if dash else ""
    kind = f"c{place % N_COLOURS}"
    named = f'data-name="{escaped(name)}" data-place="{place}"'
    drawn = [f'<path class="line {kind}" {named}{pattern} d="{"".join(parts)}"/>']
    if len(dots) <= FEW_POINTS:
        drawn.append(f'<path class="dots {kind}" data-place="{place}" d="{"".join(dots)}"/>')
    return drawn


def _key(curves: "Sequence[PlottedCurve]") -> str:
    entries = []
    for place, curve in enumerate(curves):
        dash = DASHES[place // N_COLOURS % len(DASHES)]
        pattern = f' stroke-dasharray="{dash}"' if dash else ""
        sample = (
            f'<svg viewBox="0 0 24 8" width="24" height="8" aria-hidden="true">'
            f'<path class="line c{place % N_COLOURS}"{pattern} d="M0 4H24"/></svg>'
        )
        entries.append(
            f'<li data-place="{place}">{sample}<span>{escaped(label(curve))}</span> '
            f"<b>{escaped(numbers.number(curve.last))}</b></li>"
        )
    return f'<ul class="key">{"".join(entries)}</ul>'


def _described(curve: "PlottedCurve") -> str:
    best = "" if curve.best is None else f", best {numbers.number(curve.best)}"
    return f"{label(curve)}: last {numbers.number(curve.last)}{best}."


def _broken(curve: "PlottedCurve") -> str:
    """Where values are not finite, which a line cannot show."""
    broken = np.flatnonzero(~np.isfinite(curve.values))
    if not broken.size:
        return ""
    first = numbers.count(int(curve.steps[broken[0]]))
    return (
        f"{label(curve)} is not finite at {broken.size} of {plural(curve.values.size, 'point')}, "
        f"first at step {first}"
    )
