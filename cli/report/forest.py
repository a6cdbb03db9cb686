"""Changes of metrics with their intervals, one below the other around zero."""

import math
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.verdicts import WORDS, interval
from telemetry.cli.report.frame import Frame, Label, at, framed
from telemetry.cli.report.scales import Axis
from telemetry.compare.terms import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.compare.diff.result import Diff, MetricChange

ROW_REM = 1.7
FURTHEST = 3.0  # changes beyond three times are cut, and marked as cut
MARKS = {Verdict.REGRESSION: "worse", Verdict.IMPROVEMENT: "better"}


def forest(diff: "Diff") -> str:
    """The metrics of a comparison; nothing where none has a finite change."""
    shown = [metric for metric in diff.metrics if math.isfinite(metric.change)]
    if not shown:
        return ""
    axis = _axis(shown, diff.margin)
    n = len(shown)
    band = (at(axis.share(-diff.margin)), at(axis.share(diff.margin)))
    zero = at(axis.share(0))
    shapes = [
        f'<path class="margin" d="M{band[0]} 0H{band[1]}V1000H{band[0]}z"/>',
        f'<path class="zero" d="M{zero} 0V1000"/>',
        *(shape for place, one in enumerate(shown) for shape in _row(one, axis, place, n)),
    ]
    ticks = Axis(low=100 * axis.low, high=100 * axis.high).ticks()
    return framed(
        Frame(
            title="change of the candidate, with 95 % intervals",
            described="; ".join(map(_text, shown)),
            shapes=shapes,
            left=[
                Label(place=(place + 0.5) / n, text=f"{WORDS[one.verdict]}: {one.name}")
                for place, one in enumerate(shown)
            ],
            below=[Label(place=x, text=text) for x, text in ticks],
            below_name="change in % of the base",
            height_rem=max(ROW_REM * n, 3),
            has_names=True,
            note=f"Within the grey band, {numbers.percent(diff.margin)} to either side, a change "
            "does not matter in practice.",
        )
    )


def _axis(metrics: "Sequence[MetricChange]", margin: float) -> Axis:
    ends = [margin, -margin]
    for one in metrics:
        ends += [end for end in (one.change, one.ci_low, one.ci_high) if math.isfinite(end)]
    low, high = (min(max(pick(ends), -FURTHEST), FURTHEST) for pick in (min, max))
    room = 0.06 * (high - low) or 0.01
    return Axis(low=low - room, high=high + room)


def _row(metric: "MetricChange", axis: Axis, place: int, n: int) -> list[str]:
    y = (place + 0.5) / n
    kind = MARKS.get(metric.verdict, "same")
    x = at(axis.share(metric.change))
    shapes = []
    if math.isfinite(metric.ci_low) and math.isfinite(metric.ci_high):
        left, right = at(axis.share(metric.ci_low)), at(axis.share(metric.ci_high))
        top, low = at(y - 0.2 / n), at(y + 0.2 / n)
        whisker = f"M{left} {at(y)}H{right}M{left} {top}V{low}M{right} {top}V{low}"
        shapes.append(f'<path class="whisker {kind}" d="{whisker}"/>')
    return [*shapes, f'<path class="point {kind}" d="M{x} {at(y)}h0"/>']


def _text(metric: "MetricChange") -> str:
    change = numbers.change(metric.change)
    ends = interval(metric.ci_low, metric.ci_high)
    return f"{metric.name} {change} ({ends}), {WORDS[metric.verdict]}"
