"""`telemetry explain features`: what excites the units of a layer, and how that came about."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from telemetry.cli.models.options import BATCH, limit_option
from telemetry.cli.models.question import RUN, ModelQuestion, model_question
from telemetry.cli.options import VerbGroup
from telemetry.cli.output import numbers, sparklines
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style
from telemetry.cli.output.model_answers import checks_grid, listed, mappings, number, show_failures
from telemetry.cli.output.render import Screen
from telemetry.errors import UsageError
from telemetry.requests.explain import matching_files
from telemetry.requests.features import FeaturesRequest

if TYPE_CHECKING:
    from telemetry.json_values import Json

UNITS, UNITS_OF_EVOLUTION = 9, 3


def add_features(group: VerbGroup) -> None:
    """Add the part to `telemetry explain`."""
    group.part("features")(explain_features)


@RUN
@click.option("--layer", metavar="LAYER", required=True, help="A module, or output.")
@click.option("--units", metavar="U,U", help="Channels, features or classes, such as 0,3,7.")
@click.option(
    "--top",
    type=click.IntRange(min=1),
    metavar="N",
    help="Else the N units that stand out most: 9, with --evolution 3.",
)
@click.option("--evolution", is_flag=True, help="Also at every checkpoint of the run.")
@click.option("--checkpoints", metavar="PATTERN", help="Its files; else those that the run names.")
@limit_option("Search N examples, spread evenly.")
@BATCH
@model_question
def explain_features(  # noqa: PLR0913 - one argument per option
    question: ModelQuestion,
    /,
    *,
    layer: str,
    units: str | None,
    top: int | None,
    evolution: bool,
    checkpoints: str | None,
    limit: int | None,
    batch: int,
) -> int:
    """Show the examples that excite the units of a layer most.

    Images are cropped to what a unit sees, beside their deconvolution: the structure that the
    network passes on to the unit, which is no reason for a class. With --evolution it says of
    every layer at which step it has settled, and draws the same patches at each checkpoint.

    Examples:
      telemetry explain features latest --layer conv2
      telemetry explain features latest --layer conv2 --units 0,3,7 --limit 2000
      telemetry explain features 7f3a --layer conv2 --evolution --checkpoints 'ckpt/*.pt'
    """
    if units is not None and top is not None:
        raise UsageError("--units names the units, --top chooses them: give one of the two.")
    if checkpoints is not None and not evolution:
        raise UsageError("--checkpoints belongs to --evolution; --checkpoint names one file.")
    files = question.weights if checkpoints is None else matching_files(checkpoints, Path.cwd())
    request = FeaturesRequest(
        source=question.source,
        layer=layer,
        units=_units(units),
        top=top or (UNITS_OF_EVOLUTION if evolution else UNITS),
        checkpoints=tuple(map(str, files)),
        evolution=evolution,
        keep=question.keep,
        limit=limit,
        batch=batch,
    )
    return question.tell("features", question.ask(request, "searching", "features"), _show)


def _units(text: str | None) -> tuple[int, ...]:
    parts = [] if text is None else [part.strip() for part in text.split(",")]
    if not all(part.isdigit() for part in parts):
        raise UsageError(f"--units {text}: write numbers, such as 0,3,7.")
    return tuple(map(int, parts))


def _show(screen: Screen, found: "Mapping[str, Json]") -> None:
    """The answer, a line a unit, and the course of the layers."""
    screen.paragraph(str(found["answer"]))
    show_failures(screen, found)
    screen.blank()
    columns = (
        Column(header="UNIT", align=Align.RIGHT),
        Column(header="MOST", align=Align.RIGHT),
        Column(header="LABELS OF ITS PATCHES", shrinks=True),
        Column(header="STRONGEST", shrinks=True, rank=1),
    )
    screen.grid(Grid(columns=columns, rows=tuple(map(_unit, mappings(found["units"])))))
    screen.blank()
    evolved = found["evolution"]
    if isinstance(evolved, Mapping):
        screen.grid(_courses(screen, evolved))
        screen.blank()
    if found["checks"]:
        screen.grid(checks_grid(found))
    screen.paragraph(f"{numbers.count(int(number(found['forwards'])))} forward passes", indent=2)


def _unit(unit: "Mapping[str, Json]") -> tuple[Cell, ...]:
    patches = mappings(unit["patches"])
    if not patches:
        said = "dead" if unit["dead"] is True else "no example stands out"
        return (str(unit["unit"]), "", Span(said, Style.WARNING), "")
    return (
        str(unit["unit"]),
        numbers.number(number(patches[0]["value"])),
        " ".join(str(patch["label"]) for patch in patches),
        str(patches[0]["example_id"]),
    )


def _courses(screen: Screen, evolved: "Mapping[str, Json]") -> Grid:
    steps = listed(evolved["steps"])
    word = "STEP" if evolved["has_steps"] is True else "CHECKPOINT"
    columns = (
        Column(header="LAYER", shrinks=True),
        Column(header=f"SETTLED AT {word}", align=Align.RIGHT),
        Column(header="1 - CKA AT FIRST", align=Align.RIGHT),
        Column(header=f"{steps[0]} .. {steps[-1]}", rank=1),
    )
    rows = []
    for course in mappings(evolved["layers"]):
        changes = [number(change) for change in listed(course["changes"])]
        rows.append(
            (
                str(course["layer"]),
                "unchanged" if course["unchanged"] is True else str(course["settled"]),
                numbers.number(changes[0]),
                sparklines.sparkline(changes, levels=screen.levels, extremes=(0.0, max(changes))),
            )
        )
    return Grid(columns=columns, rows=tuple(rows))
