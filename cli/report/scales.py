"""Axes: from values to places between 0 and 1, and the numbers that are written beside them."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from telemetry.answer_page.curves import MOST, ticks
from telemetry.cli.output import numbers

WIDE = 50.0  # largest over smallest value from which on a scale is logarithmic
MOST_TICKS = 6
ROOM = 0.04  # share of an axis beyond its values
FIXED_BELOW = 1e5  # a number from here on is written with an exponent


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One axis from `low` to `high`; `is_log`: equal ways are equal factors."""

    low: float
    high: float
    is_log: bool = False

    def share(self, value: float) -> float:
        """Where a value lies: 0 at the low end, 1 at the high one."""
        low, high, at = (self._placed(one) for one in (self.low, self.high, value))
        return min(max((at - low) / (high - low), 0.0), 1.0)

    def with_room(self) -> "Axis":
        """The same with room at both ends, so that no line runs along the edge."""
        if self.is_log:
            factor = (self.high / self.low) ** ROOM
            return Axis(low=self.low / factor, high=self.high * factor, is_log=True)
        room = ROOM * (self.high - self.low)
        return Axis(low=self.low - room, high=self.high + room)

    def ticks(self) -> list[tuple[float, str]]:
        """Places of round numbers, and how these are written."""
        values = self._decades() if self.is_log else []
        values = values if len(values) > 1 else ticks(self.low, self.high)
        inside = [value for value in values if self.low <= value <= self.high]
        return [(self.share(value), tick_text(value)) for value in inside]

    def _placed(self, value: float) -> float:
        return math.log10(max(value, self.low)) if self.is_log else value

    def _decades(self) -> list[float]:
        first, last = math.ceil(math.log10(self.low)), math.floor(math.log10(self.high))
        stride = max(1, -(-(last - first + 1) // MOST_TICKS))
        return [10.0**exponent for exponent in range(first, last + 1, stride)]


def axis_of(values: Iterable[float], *, may_be_log: bool = False) -> Axis | None:
    """The axis of values, with room where they are all alike; None where none is finite."""
    finite = [value for value in values if abs(value) < MOST]
    if not finite:
        return None
    low, high = min(finite), max(finite)
    if may_be_log and low > 0 and high / low >= WIDE:
        return Axis(low=low, high=high, is_log=True)
    if high <= low:
        room = abs(low) / 2 or 1.0
        return Axis(low=low - room, high=high + room)
    return Axis(low=low, high=high)


def tick_text(value: float) -> str:
    """`0.5`, `1 200`, `1e-4`."""
    if value and not 1e-3 <= abs(value) < FIXED_BELOW:  # noqa: PLR2004 - as in `numbers`
        mantissa, _, exponent = f"{value:.3g}".partition("e")
        return f"{mantissa}e{int(exponent)}" if exponent else numbers.count(round(value))
    return numbers.count(int(value)) if value == int(value) else f"{value:.4g}"
