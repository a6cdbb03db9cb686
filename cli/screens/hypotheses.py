"""Hypotheses as a table: what each expects, what came out, and whether it holds."""

import math
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style, counted
from telemetry.cli.output.render import Screen

if TYPE_CHECKING:
    from telemetry.evaluate.hypothesis_testing.stored import Listed

BASIS = (
    "DETECTABLE: smallest drop that a comparison can detect if 5 % of the answers differ; seed "
    "noise can hide more"
)


def show_list(screen: Screen, listed: "list[Listed]", *, by_run: bool = False) -> None:
    """A line for each hypothesis, or for each of them and each run."""
    if not listed:
        screen.paragraph(
            "no hypotheses were found; name a --file, or create one with `telemetry slices "
            "--save-hypothesis NAME`"
        )
        return
    columns = (
        Column(header="HYPOTHESIS", shrinks=True, least=16),
        *((Column(header="RUN", shrinks=True, least=8),) if by_run else ()),
        Column(header="KIND", rank=4),
        Column(header="EXPECTED"),
        Column(header="VALUE", align=Align.RIGHT),
        Column(header="N", align=Align.RIGHT, rank=2),
        Column(header="DETECTABLE", align=Align.RIGHT, rank=1),
        *(() if by_run else (Column(header="RUN", rank=3),)),
        Column(header="HOLDS"),
        Column(header="LAST COMPARISON", rank=5),
        Column(header="STATEMENT", shrinks=True, least=20, rank=6),
    )
    screen.grid(
        Grid(columns=columns, rows=tuple(_listed_row(entry, by_run=by_run) for entry in listed))
    )
    if any(not math.isnan(entry.detectable_drop) for entry in listed):
        screen.blank()
        screen.paragraph(BASIS, indent=2)


def _listed_row(entry: "Listed", *, by_run: bool) -> tuple[Cell, ...]:
    words = {True: Span("yes", Style.GOOD), False: Span("no", Style.ERROR)}
    unknown = Span("not evaluated" if entry.run is None else "undecided", Style.FAINT)
    return (
        entry.hypothesis.name,
        *((entry.run.name if entry.run else "",) if by_run else ()),
        entry.hypothesis.kind,
        str(entry.hypothesis.expect),
        numbers.number(None if math.isnan(entry.value) else entry.value),
        counted(entry.n),
        numbers.percent(None if math.isnan(entry.detectable_drop) else entry.detectable_drop),
        *(() if by_run else (entry.run.short if entry.run else "",)),
        unknown if entry.holds is None else words[entry.holds],
        entry.verdict.replace("_", " "),
        entry.hypothesis.statement,
    )
