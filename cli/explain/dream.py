"""`telemetry explain dream`: a picture that excites a unit, and what it is worth."""

from typing import TYPE_CHECKING

from telemetry.cli.models.question import ModelQuestion, explain_verb
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
from telemetry.requests.explain.dream import KIND, DreamRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.json_values import Json

SHOWN_EXAMPLES = 5


@explain_verb(KIND)
def verb(question: ModelQuestion, request: DreamRequest, /) -> int:
    """Make a picture that activates a unit, and compare it with noise and real examples.

    A unit may have several pictures, so four are made from different noise. A smooth picture proves
    nothing, so it must beat noise, every real example and the pictures of other units. For
    comparison, the result of a network with random weights is shown.

    Examples:
      telemetry explain dream latest --layer conv2 --unit 7
      telemetry explain dream latest --layer output --unit 3 --unit 8
      telemetry explain dream 7f3a --layer conv2 --unit 7 --start 4711 --octaves 3
    """
    return question.tell(question.ask(request), _show)


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
