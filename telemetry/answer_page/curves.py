"""Curves as inline SVG: axes with ticks and units, and the same in words for those who hear it.

Colour is never the only carrier: curves differ in their dashes, points in their shapes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from telemetry.answer_page.html import escaped

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 64, 20, 16, 56
KEY_WIDTH = 150  # beside the plot, where there is more than one curve
LINE = 18
MOST = 1e150  # beyond that, and NaN, nothing is drawn
TICKS = 5
DASHES = ("none", "6 3", "2 3", "8 3 2 3", "12 4", "1 4", "10 3 2 3 2 3")
COLOURS = ("var(--for)", "var(--against)", "var(--faint)")
BAR_SHARE = 0.8  # of the width of a bin, the rest keeps neighbours apart
STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One course.

    Attributes:
        name: For the key.
        points: Places and values; what is not finite, or vast, is left out.
        wrong: Places whose points are crosses; the others are dots.
        band: Lowest and highest value at each place, or nothing.
        is_line: Whether places follow one another; else each stands for itself.
        has_dots: Whether each point is marked; many would hide the line.
        bars: Width of the bar under each point, in units of the axis; 0: points have none. Bars of
            several curves stand side by side within it.
    """

    name: str
    points: Sequence[tuple[float, float]]
    wrong: frozenset[float] = frozenset()
    band: Sequence[tuple[float, float]] = ()
    is_line: bool = True
    has_dots: bool = True
    bars: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Curves over one axis.

    Attributes:
        title: What is shown, in a sentence.
        description: What one would see.
        x_label: With its unit.
        y_label: With its unit.
        curves: At least one.
        y_range: Ends of the vertical axis; None: of the values.
        x_names: Ticks of places 0, 1, ... by name; empty: numbers.
        marks: Vertical lines, each with what is written beside it.
    """

    title: str
    description: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    y_range: tuple[float, float] | None = None
    x_names: Sequence[str] = ()
    marks: Sequence[tuple[float, str]] = ()


def extremes(curve: Curve) -> str:
    """The least and the largest value of a curve, in words."""
    points = [(x, y) for x, y in curve.points if math.isfinite(y)]
    if not points:
        return "no value is known."
    least, most = (pick(points, key=lambda p: p[1]) for pick in (min, max))
    return f"least {least[1]:.4g} at {least[0]:.4g}, most {most[1]:.4g} at {most[0]:.4g}."


def in_svg(chart: Chart, identity: str) -> str:
    """A chart as SVG; nothing where there is no value.

    Args:
        chart: What is drawn.
        identity: Tells its title from those of other charts of the page.
    """
    return _Plot(chart).svg(identity) if any(map(_finite, chart.curves)) else ""


def _finite(curve: Curve) -> list[tuple[float, float]]:
    return [(x, y) for x, y in curve.points if abs(x) < MOST and abs(y) < MOST]


class _Plot:
    """A chart with the scales of its axes."""

    def __init__(self, chart: Chart) -> None:
        self._chart = chart
        points = [point for curve in chart.curves for point in _finite(curve)]
        xs, ys = zip(*points, strict=True)
        beside = 0.0 if all(curve.is_line for curve in chart.curves) else 0.5  # room for a category
        beside = max([beside, *(curve.bars / 2 for curve in chart.curves)])
        self._x = _widened(min(xs) - beside, max(xs) + beside)
        self._y = chart.y_range or _widened(min(ys), max(ys))
        self._right = WIDTH - RIGHT - (KEY_WIDTH if len(chart.curves) > 1 else 0)

    def svg(self, identity: str) -> str:
        chart, name = self._chart, escaped(identity)
        labelled = f'role="img" aria-labelledby="{name}-t {name}-d"'
        parts = [
            f'<svg viewBox="0 0 {WIDTH} {self._height}" {labelled}>',
            f'<title id="{name}-t">{escaped(chart.title)}</title>',
            f'<desc id="{name}-d">{escaped(chart.description)}</desc>',
            *self._axes(),
            *(self._mark(place, text, row) for row, (place, text) in enumerate(chart.marks)),
        ]
        for number, curve in enumerate(chart.curves):
            parts += self._curve(curve, number)
        return "".join(parts) + "</svg>"

    @property
    def _height(self) -> int:
        return max(HEIGHT, TOP + LINE * len(self._chart.curves) + BOTTOM)

    def _at(self, x: float, y: float) -> tuple[float, float]:
        across = (x - self._x[0]) / (self._x[1] - self._x[0])
        up = min(max((y - self._y[0]) / (self._y[1] - self._y[0]), 0), 1)
        return (
            round(LEFT + across * (self._right - LEFT), 1),
            round(self._height - BOTTOM - up * (self._height - BOTTOM - TOP), 1),
        )

    def _axes(self) -> list[str]:
        low = self._height - BOTTOM
        parts = [f'<path d="M{LEFT} {TOP}V{low}H{self._right}" fill="none" stroke="var(--faint)"/>']
        for value in ticks(*self._y):
            y = self._at(self._x[0], value)[1]
            parts += [
                f'<path d="M{LEFT - 4} {y}H{self._right}" stroke="var(--line)"/>',
                _text(LEFT - 8, y + 4, f"{value:.4g}", "end"),
            ]
        if self._y[0] < 0 < self._y[1]:
            zero = self._at(self._x[0], 0)[1]
            parts.append(f'<path d="M{LEFT} {zero}H{self._right}" stroke="var(--ink)"/>')
        for place, name in self._places():
            x = self._at(place, self._y[0])[0]
            parts += [
                f'<path d="M{x} {low}v4" stroke="var(--faint)"/>',
                _text(x, low + 18, name, "middle"),
            ]
        middle = (LEFT + self._right) / 2
        y = (TOP + low) / 2
        return [
            *parts,
            _text(middle, low + 40, self._chart.x_label, "middle"),
            f'<g transform="rotate(-90 14 {y})">{_text(14, y, self._chart.y_label, "middle")}</g>',
        ]

    def _places(self) -> list[tuple[float, str]]:
        names = self._chart.x_names
        if not names:
            return [(value, f"{value:.4g}") for value in ticks(*self._x)]
        step = -(-len(names) // (2 * TICKS))
        return [(float(place), names[place]) for place in range(0, len(names), step)]

    def _mark(self, place: float, text: str, row: int) -> str:
        x = self._at(place, self._y[0])[0]
        low = self._height - BOTTOM
        side, shift = ("end", -4) if x > (LEFT + self._right) / 2 else ("start", 4)
        line = f'<path d="M{x} {TOP}V{low}" stroke="var(--faint)" stroke-dasharray="2 3"/>'
        # Bars stand on the axis, curves mostly above it: the text keeps out of their way.
        has_bars = any(curve.bars for curve in self._chart.curves)
        height = TOP + 12 + LINE * row if has_bars else low - 6 - LINE * row
        return line + _text(x + shift, height, text, side)

    def _curve(self, curve: Curve, number: int) -> list[str]:
        colour, dash = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
        points = _finite(curve)
        places = [self._at(x, y) for x, y in points]
        line = "".join(f"{'M' if n == 0 else 'L'}{x} {y}" for n, (x, y) in enumerate(places))
        stroke = f'fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
        parts = [self._band(curve)]
        if curve.bars:
            return [
                *(self._bar(curve, number, point) for point in points),
                *self._key(curve, number),
            ]
        if curve.is_line:
            parts.append(f'<path d="{line}" {stroke}/>')
        for (x, _), (left, top) in zip(points, places, strict=True):
            if x in curve.wrong:
                cross = f"M{left - 4} {top - 4}l8 8m0 -8l-8 8"
                parts.append(f'<path d="{cross}" stroke="var(--against)" stroke-width="2"/>')
            elif curve.has_dots:
                parts.append(f'<circle cx="{left}" cy="{top}" r="2.5" fill="{colour}"/>')
        return [*parts, *self._key(curve, number)]

    def _key(self, curve: Curve, number: int) -> list[str]:
        """Its name beside the plot, where there are several."""
        if len(self._chart.curves) == 1:
            return []
        left, top = self._right + 12, TOP + LINE * number + 8
        if curve.bars:
            sample = f'<rect x="{left}" y="{top - 5}" width="24" height="10" {_filled(number)}/>'
        else:
            dash = DASHES[number % len(DASHES)]
            colour = COLOURS[number % len(COLOURS)]
            stroke = f'stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}"'
            sample = f'<path d="M{left} {top}h24" fill="none" {stroke}/>'
        return [sample, _text(left + 30, top + 4, _short(curve.name), "start")]

    def _bar(self, curve: Curve, number: int, point: tuple[float, float]) -> str:
        x, y = point
        share = curve.bars * BAR_SHARE / len(self._chart.curves)
        first = x - curve.bars * BAR_SHARE / 2 + share * number
        (left, top), (right, low) = self._at(first, y), self._at(first + share, 0.0)
        size = f'width="{right - left:.1f}" height="{max(low - top, 0.0):.1f}"'
        return f'<rect x="{left}" y="{top}" {size} {_filled(number)}/>'

    def _band(self, curve: Curve) -> str:
        if not curve.band:
            return ""
        xs = [x for x, _ in curve.points]
        if not curve.is_line:
            return "".join(map(self._interval, xs, curve.band))
        lows = [self._at(x, low) for x, (low, _) in zip(xs, curve.band, strict=True)]
        highs = [self._at(x, high) for x, (_, high) in zip(xs, curve.band, strict=True)]
        path = "L".join(f"{x} {y}" for x, y in [*lows, *reversed(highs)])
        return f'<path d="M{path}Z" fill="var(--shade)"/>'

    def _interval(self, x: float, ends: tuple[float, float]) -> str:
        """A vertical line with short ends; nothing where an end is not finite."""
        if not all(abs(end) < MOST for end in ends):
            return ""
        (left, low), (_, high) = (self._at(x, end) for end in ends)
        path = f"M{left - 5} {low}h10M{left} {low}V{high}M{left - 5} {high}h10"
        return f'<path d="{path}" fill="none" stroke="var(--ink)"/>'


def _filled(number: int) -> str:
    """How a bar looks: full, or pale with a line, so that print tells neighbours apart."""
    colour = COLOURS[number % len(COLOURS)]
    opacity = 1 if number % 2 == 0 else 0.25
    return f'fill="{colour}" fill-opacity="{opacity}" stroke="{colour}"'


def ticks(low: float, high: float) -> list[float]:
    """Round numbers within a span, about five."""
    raw = (high - low) / TICKS
    decade = 10 ** math.floor(math.log10(raw))
    step = next(decade * factor for factor in STEPS if decade * factor >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def _widened(low: float, high: float) -> tuple[float, float]:
    if high > low:
        return low, high
    return low - max(abs(low), 1) / 2, high + max(abs(high), 1) / 2


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escaped(text)}</text>'


def _short(name: str, most: int = 16) -> str:
    return name if len(name) <= most else f"{name[: most - 3]}..."
