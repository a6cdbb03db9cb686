"""What is shown of slices: the answer, the groups, and what the numbers rest on."""

import shlex
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style, counted
from telemetry.cli.output.render import Screen
from telemetry.cli.screens.store_warnings import show_warnings

if TYPE_CHECKING:
    from telemetry.evaluate.slicing.result import Slice, Slices

EXIT_FOUND = 1
MOST_TITLE = 44  # characters of a slice that other columns make room for


def present(screen: Screen, found: "Slices") -> int:
    """Warnings, then the document or the screen; returns the exit code."""
    show_warnings(screen, found.warnings)
    if screen.wants_json:
        screen.json(found.to_json())
    else:
        show(screen, found)
    return EXIT_FOUND if found.is_worse else 0


def show(screen: Screen, found: "Slices") -> None:
    """The answer, the slices, and what the numbers rest on."""
    screen.paragraph(found.answer)
    if found.slices:
        screen.blank()
        screen.grid(_grid(found))
    screen.blank()
    screen.paragraph(_basis(found), indent=2)
    for column in found.telling:
        screen.paragraph(
            f"{column} alone determines whether an answer is correct, so it explains nothing "
            "and is not used.",
            indent=2,
        )
    if found.slices and not found.measured:
        worst = found.slices[0]
        since = f" --base {found.base.run.short}" if found.base else ""
        screen.verbatim(
            f"telemetry slices {found.evaluation.run.short} --where {_quoted(worst.where)}{since}",
            indent=2,
            label="NEXT",
        )


def _quoted(where: str) -> str:
    """A condition as one word of a shell; double quotes read best, for SQL has single ones."""
    return shlex.quote(where) if set(where) & set('"$`\\!') else f'"{where}"'


def _grid(found: "Slices") -> Grid:
    longest = max(len(entry.title) for entry in found.slices)
    columns = (
        Column(header="SLICE", shrinks=True, least=min(longest, MOST_TITLE)),
        Column(header="N", align=Align.RIGHT),
        Column(header="CHANGE" if found.base else found.metric.upper(), align=Align.RIGHT),
        Column(header="REST", align=Align.RIGHT),
        Column(header="DIFFERENCE 95 %", align=Align.RIGHT, rank=2),
        Column(header="Q", align=Align.RIGHT, rank=1),
        Column(header="EXAMPLES", rank=3),
    )
    return Grid(columns=columns, rows=tuple(_row(found, entry) for entry in found.slices))


def _row(found: "Slices", entry: "Slice") -> tuple[str | Span, ...]:
    return (
        entry.title,
        counted(entry.n),
        Span(found.number(entry.value), Style.ERROR if found.is_worse else Style.PLAIN),
        found.number(entry.rest),
        found.interval(entry),
        numbers.number(entry.q),
        " ".join(entry.examples),
    )


def _basis(found: "Slices") -> str:
    """What was judged, in one line."""
    at = "" if found.evaluation.step is None else f" at step {numbers.count(found.evaluation.step)}"
    searched = found.slices and not found.measured  # else the answer says how many
    tested = f", {numbers.count(found.tested)} groups tested" if searched else ""
    half = ", numbers are from the half that was not searched" if found.confirmed else ""
    return (
        f"{numbers.count(found.n)} examples of {found.evaluation.dataset}{at}, overall "
        f"{found.unit} {found.number(found.overall)}{tested}{half}"
    )
