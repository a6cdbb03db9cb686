"""`telemetry explain dream`: a picture that excites a unit, and what it is worth."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli import numbers
from telemetry.cli.grid import Align, Column, Grid
from telemetry.cli.model_answers import checks_grid, colours, mappings, number, show_failures
from telemetry.cli.model_child import ask
from telemetry.cli.model_options import model_options, newest_weights, source_of
from telemetry.cli.options import Settings, VerbGroup, complete_runs
from telemetry.cli.render import Screen, open_screen
from telemetry.errors import Inconclusive
from telemetry.feature_requests import DreamRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.json_values import Json

SHOWN_EXAMPLES = 5


def add_dream(group: VerbGroup) -> None:
    """Add the part to `telemetry explain`."""
    group.part("dream")(explain_dream)


@click.argument("run", metavar="RUN", shell_complete=complete_runs)
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
@click.option(
    "--limit",
    type=click.IntRange(min=2),
    default=256,
    show_default=True,
    metavar="N",
    help="Real examples it is set beside.",
)
@click.option("--seed", type=int, default=0, help="Of noise and shifts.")
@click.option("--batch", type=click.IntRange(min=1), default=64, help="Inputs a forward.")
@click.option("--no-store", is_flag=True, help="Show the result and keep nothing.")
@model_options
@click.pass_obj
def explain_dream(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    /,
    *,
    run: str,
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
    no_store: bool,
    trust_run: bool,
    **given: str | None,
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
    screen = open_screen(settings)
    chosen = telemetry.Store.open(settings.store).select(run)
    request = DreamRequest(
        source=newest_weights(source_of(chosen, given, trust=trust_run), Path.cwd()),
        layer=layer,
        units=units,
        run=None if no_store else str(chosen.ref.path),
        steps=steps,
        smooth=smooth,
        jitter=jitter,
        octaves=octaves,
        start=start,
        limit=limit,
        seed=seed,
        batch=batch,
    )
    found = mappings(ask(request.to_json(), "dreaming").get("dreams"))
    if screen.wants_json:
        screen.json({"run": chosen.run, "stored": not no_store, "dreams": [*found]})
    for entry in () if screen.wants_json else found:
        _show(screen, entry, chosen.ref.path)
    return 0 if all(entry["ok"] is True for entry in found) else Inconclusive.exit_code


def _show(screen: Screen, found: "Mapping[str, Json]", run: Path) -> None:
    """The answer, the best picture, the real examples, and the checks."""
    screen.paragraph(str(found["answer"]))
    show_failures(screen, found)
    screen.blank()
    screen.picture(colours(found.get("grid")))
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
    if found.get("image") is not None:
        screen.paragraph(str(run / str(found["image"])), label="picture")
