"""`telemetry explain features`: what excites the units of a layer, and how that came about."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.cli.models.question import ModelQuestion, explain_verb
from telemetry.cli.output import numbers, sparklines
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style
from telemetry.cli.output.model_answers import checks_grid, listed, mappings, number, show_failures
from telemetry.cli.output.render import Screen
from telemetry.requests.explain.features import KIND, FeaturesRequest
from telemetry.requests.models import matching_files

if TYPE_CHECKING:
    from telemetry.json_values import Json


@explain_verb(KIND)
def verb(question: ModelQuestion, request: FeaturesRequest, /) -> int:
    """Show the examples that activate the units of a layer most.

    Images are cropped to what a unit sees and shown with their deconvolution: the structure that
    the network passes on to the unit, which is not a reason for a class. With --evolution, the step
    at which each layer has settled is shown, with the same patches at each checkpoint.

    Examples:
      telemetry explain features latest --layer conv2
      telemetry explain features latest --layer conv2 --units 0,3,7 --limit 2000
      telemetry explain features 7f3a --layer conv2 --evolution --checkpoints 'ckpt/*.pt'
    """
    pattern = request.settings.checkpoints
    files = question.weights if pattern is None else matching_files(pattern, Path.cwd())
    found = question.ask(replace(request, files=tuple(map(str, files))))
    return question.tell(found, _show)


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
