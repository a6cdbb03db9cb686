"""The rows of `telemetry diff` that say what the metrics became, and what the runs can show."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style
from telemetry.cli.output.verdicts import compared, interval
from telemetry.compare.terms import Axis, DirectionSource, Verdict

if TYPE_CHECKING:
    from telemetry.compare.diff.result import Diff, MetricChange, Quantity

UNITS = {
    Axis.STEP: "steps",
    Axis.SAMPLES: "samples",
    Axis.TOKENS: "tokens",
    Axis.TIME: "recorded time",
}


def metric_grid(metrics: Sequence["MetricChange"], *, n_detailed: int) -> Grid:
    """The metrics as a table, the first of them with their best value and area as well.

    GOAL is which way is better, with a question mark where the name does not tell it.
    """
    columns = (
        Column(header="METRIC", shrinks=True),
        Column(header="BASE", align=Align.RIGHT),
        Column(header="CANDIDATE", align=Align.RIGHT),
        Column(header="CHANGE", align=Align.RIGHT),
        Column(header="95 % INTERVAL", align=Align.RIGHT),
        Column(header="", shrinks=False),
        Column(header="GOAL", rank=1),
    )
    rows: list[tuple[str | Span, ...]] = []
    for place, metric in enumerate(metrics):
        rows.append(_row(metric))
        if place < n_detailed:
            rows += [
                _quantity_row(f"{metric.name} {name}", quantity)
                for name, quantity in (("best", metric.best), ("area", metric.area))
                if not math.isnan(quantity.base)
            ]
    return Grid(columns=columns, rows=tuple(rows))


def power_text(metric: "MetricChange") -> str:
    """What these runs can show, and how large the change is beside a seed; empty if unknown."""
    from telemetry.compare.diff.reasons import power  # noqa: PLC0415 - keeps --help fast

    told = power(metric)
    parts = ["" if told in metric.reason else told]
    if math.isfinite(metric.effect_size) and metric.verdict is not Verdict.NO_CHANGE:
        times = f"{float(f'{abs(metric.effect_size):.2g}'):g}"  # as 120, not 1.2e+02
        parts.append(f"this change is {times}× the seed-to-seed noise")
    return "; ".join(filter(None, parts))


def axis_text(diff: "Diff") -> str:
    """What the curves lie along and up to where, where it is not steps."""
    end = diff.metrics[0].end if diff.metrics else None
    if diff.axis is Axis.STEP or end is None:
        return ""
    reached = numbers.duration(end) if diff.axis is Axis.TIME else numbers.count(round(end))
    return f"compared by {UNITS[diff.axis]}, up to {reached}"


def _row(metric: "MetricChange") -> tuple[str | Span, ...]:
    guessed = "?" if metric.direction_from is DirectionSource.ASSUMED else ""
    return (
        metric.name,
        numbers.number(metric.base),
        numbers.number(metric.candidate),
        numbers.change(metric.change),
        interval(metric.ci_low, metric.ci_high),
        compared(metric.verdict),
        Span(f"{metric.direction}{guessed}", Style.FAINT),
    )


def _quantity_row(name: str, quantity: "Quantity") -> tuple[str | Span, ...]:
    return (
        name,
        numbers.number(quantity.base),
        numbers.number(quantity.candidate),
        numbers.change(quantity.change),
        interval(quantity.ci_low, quantity.ci_high),
        # Of these no claim is made; an interval on both sides of 0 could not carry one.
        compared(Verdict.INCONCLUSIVE) if quantity.ci_low < 0 < quantity.ci_high else "",
        "",
    )
