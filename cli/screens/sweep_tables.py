"""The tables of `telemetry sweep`."""

import math
from collections.abc import Sequence

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style
from telemetry.compare.sweep.result import Configuration, Parameter, Sweep, SweepRun


def run_grid(sweep: Sweep, shown: Sequence[SweepRun]) -> Grid:
    """Runs with their parameters, the most important first."""
    names = [entry.name for entry in sweep.parameters]
    columns = (
        Column(header="RUN"),
        Column(header="NAME", shrinks=True),
        Column(header="STATUS"),
        Column(header=sweep.metric, align=Align.RIGHT),
        *(
            Column(header=name, align=Align.RIGHT, rank=rank)
            for rank, name in enumerate(names, start=1)
        ),
    )
    rows = tuple(
        (
            entry.run.short,
            entry.run.name,
            _status(entry),
            numbers.number(entry.value),
            *(numbers.literal(entry.parameters.get(name)) for name in names),
        )
        for entry in shown
    )
    return Grid(columns=columns, rows=rows)


def front_grid(sweep: Sweep) -> Grid:
    """The runs on the front of metric, time and size."""
    columns = (
        Column(header="FRONT"),
        Column(header="NAME", shrinks=True),
        Column(header=sweep.metric, align=Align.RIGHT),
        Column(header="TIME", align=Align.RIGHT),
        Column(header="PARAMETERS", align=Align.RIGHT),
    )
    rows = tuple(
        (
            entry.run.short,
            entry.run.name,
            numbers.number(entry.value),
            _seconds(entry.seconds),
            _size(entry.n_parameters),
        )
        for entry in sweep.front
    )
    return Grid(columns=columns, rows=rows)


def curve_grid(parameter: Parameter) -> Grid:
    """The response curve of one parameter."""
    columns = (
        Column(header=parameter.name, shrinks=True),
        Column(header="MEDIAN", align=Align.RIGHT),
        Column(header="95 % INTERVAL", align=Align.RIGHT),
        Column(header="RUNS", align=Align.RIGHT),
        Column(header="DIVERGED", align=Align.RIGHT),
    )
    rows = tuple(
        (
            point.value,
            numbers.number(point.median) if point.runs > point.diverged else numbers.NOTHING,
            interval(point.low, point.high),
            str(point.runs),
            str(point.diverged) if point.diverged else Span(numbers.NOTHING, Style.FAINT, "0"),
        )
        for point in parameter.effect
    )
    return Grid(columns=columns, rows=rows)


def configuration_grid(sweep: Sweep, shown: Sequence[Configuration]) -> Grid:
    """Means over folds, and how far each configuration is behind the best."""
    names = sorted({name for one in sweep.configurations for name in one.parameters})
    columns = (
        *(Column(header=name, align=Align.RIGHT) for name in names),
        Column(header="FOLDS", align=Align.RIGHT),
        Column(header=sweep.metric, align=Align.RIGHT),
        Column(header="95 % INTERVAL", align=Align.RIGHT),
        Column(header="BEHIND", align=Align.RIGHT),
        Column(header="95 % INTERVAL", align=Align.RIGHT, rank=1),
    )
    best = sweep.configurations[0]
    rows = tuple(
        (
            *(numbers.literal(one.parameters.get(name)) for name in names),
            f"{one.folds} of {one.folds + len(one.missing)}" if one.missing else str(one.folds),
            numbers.number(one.mean),
            interval(one.ci_low, one.ci_high),
            Span("best", Style.GOOD) if one is best else numbers.number(one.behind),
            *_behind(one, best),
        )
        for one in shown
    )
    return Grid(columns=columns, rows=rows)


def interval(low: float, high: float) -> str:
    """`low .. high`, a dash where nothing is known."""
    if not (math.isfinite(low) and math.isfinite(high)):
        return numbers.NOTHING
    return f"{numbers.number(low)} .. {numbers.number(high)}"


def _behind(one: Configuration, best: Configuration) -> list[Cell]:
    return [numbers.NOTHING if one is best else interval(one.behind_low, one.behind_high)]


def _status(entry: SweepRun) -> str:
    notes = [
        *(["diverged"] if entry.diverged else []),
        *([("stopped early")] if _pruned(entry) else []),
    ]
    return ", ".join([str(entry.run.status), *notes])


def _pruned(entry: SweepRun) -> bool:
    """Cut short in a way that its status does not say."""
    return entry.cut_short and entry.run.status == "finished"


def _seconds(value: float | None) -> Span:
    return Span(numbers.duration(value), piped=numbers.NOTHING if value is None else f"{value:g}")


def _size(value: int | None) -> Span:
    if value is None:
        return Span(numbers.NOTHING)
    return Span(numbers.large_count(value), piped=str(value))
