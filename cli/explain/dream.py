"""`telemetry explain dream`: a picture that excites a unit, and what it is worth."""

from typing import TYPE_CHECKING

import click

from telemetry.cli.models.options import BATCH, limit_option, seed_option
from telemetry.cli.models.question import RUN, ModelQuestion, model_question
from telemetry.cli.options import VerbGroup
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Column, Grid
from telemetry.cli.output.model_answers import (
    checks_grid,
    mappings,
    number,
    show_failures,
    show_picture,
)
from telemetry.cli.output.render import Screen
from telemetry.requests.features import DreamRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.json_values import Json

SHOWN_EXAMPLES = 5


def add_dream(group: VerbGroup) -> None:
    """Add the part to `telemetry explain`."""
    group.part("dream")(explain_dream)


@RUN
@click.option(
    "--layer", metavar="LAYER", required=True, help="A module, or output: before softmax."
)
@click.option(
    "--unit",
    "units",
    metavar="U",
    multiple=True,
    required=True,
    help="Channel, feature or class; 7@3,4 is one place. Repeatable.",
)
@click.option(
    "--steps", type=click.IntRange(min=1), default=128, show_default=True, help="Of the ascent."
)
@click.option(
    "--tv",
    "smooth",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Weight of smoothness.",
)
@click.option(
    "--jitter", type=click.IntRange(min=0), help="Most pixels of a shift; else a twelfth."
)
@click.option(
    "--start",
    metavar="ID|FILE",
    default="noise",
    show_default=True,
    help="noise, or an example or image file to begin with.",
)
@click.option(
    "--octaves",
    type=click.IntRange(min=1, max=10),
    default=1,
    show_default=True,
    help="From coarse to fine.",
)
@limit_option("Real examples it is set beside.", least=2, default=256)
@seed_option("noise and shifts")
@BATCH
@model_question
def explain_dream(  # noqa: PLR0913 - one argument per option
    question: ModelQuestion,
    /,
    *,
    layer: str,
    units: tuple[str, ...],
    steps: int,
    smooth: float,
    jitter: int | None,
    start: str,
    octaves: int,
    limit: int,
    seed: int,
    batch: int,
) -> int:
    """Make a picture that excites a unit, and hold it against noise and real examples.

    A unit may have several pictures: four are made from other noise. A smooth picture proves
    nothing, so it must beat noise, every real example and the pictures of other units; beside it
    stands what a network with random weights reaches.

    Examples:
      telemetry explain dream latest --layer conv2 --unit 7
      telemetry explain dream latest --layer output --unit 3 --unit 8
      telemetry explain dream 7f3a --layer conv2 --unit 7 --start 4711 --octaves 3
    """
    request = DreamRequest(
        source=question.source,
        layer=layer,
        units=units,
        keep=question.keep,
        steps=steps,
        smooth=smooth,
        jitter=jitter,
        octaves=octaves,
        start=start,
        limit=limit,
        seed=seed,
        batch=batch,
    )
    return question.tell("dreams", question.ask(request, "dreaming", "dreams"), _show)


def _show(screen: Screen, found: "Mapping[str, Json]") -> None:
    """The answer, the best picture, the real examples, and the checks."""
    screen.paragraph(str(found["answer"]))
    show_failures(screen, found)
    screen.blank()
    show_picture(screen, found)
    columns = (Column(header="REAL EXAMPLE", shrinks=True), Column(header="", align=Align.RIGHT))
    top = mappings(found["top"])[:SHOWN_EXAMPLES]
    screen.grid(
        Grid(
            columns=columns,
            rows=tuple((str(e["example_id"]), numbers.number(number(e["value"]))) for e in top),
        )
    )
    screen.blank()
    screen.grid(checks_grid(found))
    if found["seed_correlation"] is not None:
        alike = f"{number(found['seed_correlation']):.2f}"
        screen.paragraph(f"pictures from other noise correlate {alike}", indent=2)
    screen.paragraph(f"{numbers.count(int(number(found['forwards'])))} forward passes", indent=2)
