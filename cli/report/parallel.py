"""Parallel coordinates: an axis a setting of a sweep, a line a run, the metric last."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from telemetry.answer_page.html import element, escaped
from telemetry.cli.output import numbers
from telemetry.cli.report.frame import SIZE, at, percent
from telemetry.cli.report.scales import Axis, axis_of, tick_text
from telemetry.compare.terms import Direction
from telemetry.json_values import Json

if TYPE_CHECKING:
    from telemetry.compare.sweep.result import Sweep, SweepRun

MOST_AXES = 6  # settings; more would have no room for their names
MOST_CHOICES = 8
Scale = Axis | tuple[str, ...]


def parallel(sweep: "Sweep") -> str:
    """The runs of a sweep; nothing where no setting varies or no run has a value."""
    names = [entry.name for entry in sweep.parameters][:MOST_AXES]
    metric = axis_of((one.value for one in sweep.runs if one.value is not None), may_be_log=True)
    if not names or metric is None:
        return ""
    scales: list[Scale] = [
        _scale([one.parameters.get(name) for one in sweep.runs]) for name in names
    ]
    columns = [*names, sweep.metric]
    shapes = [
        f'<path class="axis" d="M{at(_x(i, columns))} 0V{SIZE}"/>' for i in range(len(columns))
    ]
    # Best last, so that it lies above the others.
    is_lower = sweep.goal is Direction.LOWER
    shapes += [
        _line(entry, names, scales, metric, is_lower=is_lower) for entry in reversed(sweep.runs)
    ]
    goal = "lower" if sweep.goal is Direction.LOWER else "higher"
    text = f"{len(sweep.runs)} runs; {sweep.metric}: {goal} is better"
    svg = (
        f'<svg viewBox="0 0 {SIZE} {SIZE}" preserveAspectRatio="none" role="img" '
        f'aria-label="{escaped(f"Settings and {text}")}">{"".join(shapes)}</svg>'
    )
    ends = [_ends(scale) for scale in (*scales, metric)]
    parts = [
        element("h3", escaped(f"settings and {sweep.metric} of {len(sweep.runs)} runs")),
        '<div class="parallel">',
        _labels([high for _, high in ends], columns, "ends"),
        f'<div class="box" style="height:18rem">{svg}{_choices(scales, columns)}</div>',
        _labels([low for low, _ in ends], columns, "ends"),
        _labels(columns, columns, "columns"),
        "</div>",
        element(
            "figcaption",
            escaped(
                f"The stronger a line, the better its {sweep.metric} ({goal} is better); "
                "dashed red lines diverged or have no value."
            ),
        ),
    ]
    return element("figure", "".join(parts), "plot")


def _scale(values: Sequence[Json]) -> Scale:
    numbers_only = [
        float(one) for one in values if isinstance(one, int | float) and not isinstance(one, bool)
    ]
    if len(numbers_only) == len([one for one in values if one is not None]):
        found = axis_of(numbers_only, may_be_log=True)
        if found is not None:
            return found
    return tuple(dict.fromkeys(sorted(map(numbers.literal, values))))[:MOST_CHOICES]


def _x(place: int, columns: Sequence[str]) -> float:
    """Columns of equal width, the axis in the middle of each."""
    return (place + 0.5) / len(columns)


def _y(value: Json, scale: Scale) -> float | None:
    if isinstance(scale, Axis):
        known = isinstance(value, int | float) and math.isfinite(value)
        return 1 - scale.share(float(value)) if known and isinstance(value, int | float) else None
    text = numbers.literal(value)
    return _choice(scale.index(text), scale) if text in scale else None


def _choice(place: int, scale: tuple[str, ...]) -> float:
    return (place + 0.5) / len(scale)


def _line(
    entry: "SweepRun",
    names: Sequence[str],
    scales: Sequence[Scale],
    metric: Axis,
    *,
    is_lower: bool,
) -> str:
    columns = [*names, ""]
    ys = [_y(entry.parameters.get(name), scale) for name, scale in zip(names, scales, strict=True)]
    is_broken = entry.diverged or entry.value is None
    worst = 0.0 if is_lower else 1.0
    share = metric.share(entry.value) if entry.value is not None else 0.0
    ys.append(worst if is_broken else 1 - share)
    points = [f"{at(_x(i, columns))} {at(y)}" for i, y in enumerate(ys) if y is not None]
    title = f"<title>{escaped(_title(entry))}</title>"
    path = f"M{'L'.join(points)}"
    if is_broken:
        return f'<path class="run diverged" d="{path}">{title}</path>'
    good = 1 - share if is_lower else share
    colour = f"stroke:color-mix(in srgb,var(--for) {round(100 * good)}%,var(--line))"
    return f'<path class="run" style="{colour}" d="{path}">{title}</path>'


def _title(entry: "SweepRun") -> str:
    settings = ", ".join(f"{k} {numbers.literal(v)}" for k, v in entry.parameters.items())
    value = "diverged" if entry.diverged else numbers.number(entry.value)
    return f"{entry.run.name} {entry.run.short}: {value}; {settings}"


def _ends(scale: Scale) -> tuple[str, str]:
    if isinstance(scale, Axis):
        return tick_text(float(f"{scale.low:.3g}")), tick_text(float(f"{scale.high:.3g}"))
    return "", ""


def _labels(texts: Sequence[str], columns: Sequence[str], kind: str) -> str:
    width = percent(1 / len(columns))
    return element(
        "div",
        "".join(
            f'<span style="width:{width}" title="{escaped(text)}">{escaped(text)}</span>'
            for text in texts
        ),
        kind,
    )


def _choices(scales: Sequence[Scale], columns: Sequence[str]) -> str:
    """The values of a setting that is no number, beside its axis."""
    return "".join(
        f'<span class="choice" style="left:{percent(_x(place, columns))};'
        f'top:{percent(_choice(row, scale))}">{escaped(text)}</span>'
        for place, scale in enumerate(scales)
        if not isinstance(scale, Axis)
        for row, text in enumerate(scale)
    )
