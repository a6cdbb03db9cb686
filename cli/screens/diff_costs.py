"""The rows of `telemetry diff` that say what a step costs."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Column, Grid, Span
from telemetry.cli.output.verdicts import compared, interval

if TYPE_CHECKING:
    from telemetry.compare.diff.result import CostChange

# Name of a cost -> what it is called and how it is written.
WRITTEN: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "step_s": ("step time", numbers.duration),
    "step_s_p95": ("step time p95", numbers.duration),
    "samples_per_s": ("samples/s", numbers.number),
    "data_s": ("data wait", numbers.duration),
    "peak_memory_bytes": ("peak memory", numbers.size),
}


def cost_grid(costs: Sequence["CostChange"]) -> Grid:
    """The costs as a table."""
    columns = (
        Column(header="COST"),
        Column(header="BASE", align=Align.RIGHT),
        Column(header="CANDIDATE", align=Align.RIGHT),
        Column(header="CHANGE", align=Align.RIGHT),
        Column(header="95 % INTERVAL", align=Align.RIGHT),
        Column(header=""),
    )
    return Grid(columns=columns, rows=tuple(map(_row, costs)))


def _row(cost: "CostChange") -> tuple[str | Span, ...]:
    name, written = WRITTEN[cost.name]
    return (
        name,
        written(cost.base),
        written(cost.candidate),
        numbers.change(cost.change),
        interval(cost.ci_low, cost.ci_high),
        compared(cost.verdict),
    )
