"""Maps of layers by steps: a row a layer, a column a stretch of steps, a colour for the value."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.answer_page.html import escaped
from telemetry.cli.output import numbers
from telemetry.cli.output.texts import plural
from telemetry.cli.report.frame import Frame, Label, at, framed
from telemetry.cli.report.scales import Axis, axis_of
from telemetry.finding import MODEL_ITSELF

# Viridis from low to high; what is not finite has a colour of its own, and a cross in it.
COLOURS = (
    *("#440154", "#481a6c", "#472f7d", "#414487", "#39568c", "#31688e", "#2a788e", "#23888e"),
    *("#1f988b", "#22a884", "#35b779", "#54c568", "#7ad151", "#a5db36", "#d2e21b", "#fde725"),
)
ROW_REM = 1.15
MOST_ROWS = 48  # of a map; more would be pages long
LEAST_DECADES = 1.0  # that a scale of factors spans: noise must not look like a trend


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatMap:
    """What is drawn.

    Attributes:
        title: What is shown, with its unit.
        names: Of the rows.
        values: Shape (n_rows, n_stretches); NaN: no sample; infinite: broken.
        n_steps: That the stretches divide.
        is_share: Whether values are shares, on a scale from 0 to 100 %; else factors count.
        kept: Names of rows that must not be left out.
        note: What is said below.
    """

    title: str
    names: Sequence[str]
    values: npt.NDArray[np.float64]
    n_steps: int
    is_share: bool = False
    kept: Collection[str] = ()
    note: str = ""


def heat(heat_map: HeatMap) -> str:
    """The map as HTML; nothing where nothing was sampled."""
    sampled = ~np.isnan(heat_map.values)
    if not sampled.any():
        return ""
    rows = _chosen(heat_map)
    values = _condensed(heat_map.values[rows])
    names = [heat_map.names[row] or MODEL_ITSELF for row in rows]
    steps = Axis(low=0, high=max(heat_map.n_steps - 1, 1))
    scale = _scale(heat_map, values)
    left_out = len(heat_map.names) - len(rows)
    cut = f"{left_out} of {plural(len(heat_map.names), 'row')} are not drawn." if left_out else ""
    return framed(
        Frame(
            title=heat_map.title,
            described="; ".join(map(_row_text, names, values.tolist())),
            shapes=_shapes(values, scale),
            left=[
                Label(place=(place + 0.5) / len(names), text=name)
                for place, name in enumerate(names)
            ],
            below=[Label(place=x, text=text) for x, text in steps.ticks()],
            below_name="optimizer step",
            height_rem=ROW_REM * len(names),
            kind="rows",
            data={
                "names": names,
                "values": [[_short(value) for value in row] for row in values.tolist()],
                "n": heat_map.n_steps,
                "percent": heat_map.is_share,
            },
            key=_key(heat_map, scale, has_broken=bool(np.isinf(values).any())),
            note=" ".join(filter(None, [heat_map.note, cut])),
            has_names=True,
        )
    )


def _chosen(heat_map: HeatMap) -> list[int]:
    """Rows that have a sample; evenly fewer of too many, and always those that must stay."""
    known = np.flatnonzero((~np.isnan(heat_map.values)).any(axis=1))
    if known.size <= MOST_ROWS:
        return known.tolist()
    must = [row for row in known.tolist() if heat_map.names[row] in heat_map.kept][:MOST_ROWS]
    free = MOST_ROWS - len(must)
    evenly = known[np.linspace(0, known.size - 1, max(free, 1)).round().astype(np.int64)]
    return sorted({*must, *evenly.tolist()[:free]})


def _condensed(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Without gaps: where fewer steps were sampled than there are stretches, a value lasts on."""
    filled = values.copy()
    for column in range(1, filled.shape[1]):
        if np.isnan(values[:, column]).all():
            filled[:, column] = filled[:, column - 1]
    return filled


def _scale(heat_map: HeatMap, values: npt.NDArray[np.float64]) -> Axis:
    if heat_map.is_share:
        return Axis(low=0, high=1)
    finite = values[np.isfinite(values) & (values > 0)]
    axis = axis_of(finite.tolist())
    if axis is None or axis.low <= 0:
        return Axis(low=float(finite.min()) if finite.size else 0.1, high=1, is_log=True)
    spare = max(LEAST_DECADES - math.log10(axis.high / axis.low), 0) / 2
    return Axis(low=axis.low / 10**spare, high=axis.high * 10**spare, is_log=True)


def _shapes(values: npt.NDArray[np.float64], scale: Axis) -> list[str]:
    """One path a colour: the runs of equal cells of each row."""
    n_rows, n_columns = values.shape
    paths: dict[str, list[str]] = {}
    for row, line in enumerate(values.tolist()):
        colours = [_colour(value, scale) for value in line]
        start = 0
        for column in range(1, n_columns + 1):
            if column < n_columns and colours[column] == colours[start]:
                continue
            if colours[start]:
                left, right = at(start / n_columns), at(column / n_columns)
                top, low = at((row + 0.04) / n_rows), at((row + 0.96) / n_rows)
                box = f"M{left} {top}H{right}V{low}H{left}z"
                if colours[start] == "broken":
                    box += f"M{left} {top}L{right} {low}M{right} {top}L{left} {low}"
                paths.setdefault(colours[start], []).append(box)
            start = column
    return [
        f'<path class="broken" d="{"".join(boxes)}"/>'
        if colour == "broken"
        else f'<path fill="{colour}" d="{"".join(boxes)}"/>'
        for colour, boxes in paths.items()
    ]


def _colour(value: float, scale: Axis) -> str:
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "broken"
    return COLOURS[min(int(scale.share(value) * len(COLOURS)), len(COLOURS) - 1)]


def _key(heat_map: HeatMap, scale: Axis, *, has_broken: bool) -> str:
    stops = "".join(f'<i style="background:{colour}"></i>' for colour in COLOURS)
    write = numbers.percent if heat_map.is_share else numbers.compact
    broken = '<i class="broken"></i> not finite' if has_broken else ""
    return (
        f'<p class="scale">{escaped(write(scale.low))} <span>{stops}</span> '
        f"{escaped(write(scale.high))} {broken}</p>"
    )


def _short(value: float) -> str | float | None:
    if math.isnan(value):
        return None
    return "not finite" if math.isinf(value) else float(f"{value:.3g}")


def _row_text(name: str, values: Sequence[float]) -> str:
    known = [value for value in values if not math.isnan(value)]
    return f"{name}: {numbers.compact(known[0])} at first, {numbers.compact(known[-1])} at last"
