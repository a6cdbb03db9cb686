"""`telemetry explain input`: which parts of one input made the model answer as it does."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from telemetry.cli.models.question import ModelQuestion, explain_verb
from telemetry.cli.output import numbers, sparklines
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style
from telemetry.cli.output.model_answers import (
    checks_grid,
    known_number,
    listed,
    mappings,
    number,
    show_picture,
)
from telemetry.cli.output.render import Screen
from telemetry.requests.explain.input import KIND, InputRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.json_values import Json

SHOWN_PARTS, SHOWN_ANSWERS = 5, 4
MOST_BASELINES = 3  # with a column each
BAR_WIDTH = 10


@explain_verb(KIND)
def verb(question: ModelQuestion, request: InputRequest, /) -> int:
    """Show which parts of an input made the model answer as it does.

    By default, this explains a wrong answer: what pushes towards it and away from the truth. Every
    explanation is checked; a failed check is shown and gives exit code 3.

    Examples:
      telemetry explain input latest --example 4711
      telemetry explain input latest --worst 3 --method occlusion
      telemetry explain input 7f3a --example 12 --target pred --method lime
      telemetry explain input latest --input photo.png --label cat
    """
    return question.tell(question.ask(request), show)


def show(screen: Screen, attribution: "Mapping[str, Json]") -> None:
    """The answer, then the parts, the picture, and the checks."""
    screen.paragraph(str(attribution["answer"]))
    failed = [check["name"] for check in mappings(attribution["checks"]) if check["ok"] is not True]
    if failed:  # the answer says what each means
        screen.line(Span("FAILED", Style.ERROR), ", ".join(map(str, failed)))
    for warning in listed(attribution["warnings"]):
        screen.paragraph(str(warning), label="note")
    instead = _instead(mappings(attribution["changed"]))
    if instead:
        screen.paragraph(instead, label="hidden")
    screen.blank()
    show_picture(screen, attribution)
    baselines = [str(name) for name in listed(attribution["baselines"])]
    screen.grid(_parts(mappings(attribution["top"])[:SHOWN_PARTS], baselines))
    screen.blank()
    screen.grid(checks_grid(attribution))


def _instead(changed: "Sequence[Mapping[str, Json]]") -> str:
    """Which answers come instead where parts are hidden; empty: none."""
    shown = [f'without {one["segment"]} "{one["prediction"]}"' for one in changed[:SHOWN_ANSWERS]]
    if len(changed) > SHOWN_ANSWERS:
        shown.append(f"{len(changed) - SHOWN_ANSWERS} more with --json")
    return "; ".join(shown)


def _parts(top: "Sequence[Mapping[str, Json]]", baselines: "Sequence[str]") -> Grid:
    """Parts with their values, for each of several baselines, or over the references of one."""
    each = baselines if 1 < len(baselines) <= MOST_BASELINES else []
    has_std = any(part["std"] is not None for part in top)
    is_unstable = any(part["unstable"] is True for part in top)
    columns = (
        Column(header="PART", shrinks=True),
        Column(header="VALUE", align=Align.RIGHT),
        *([Column(header="SD", align=Align.RIGHT)] if has_std else []),
        *(Column(header=name.upper(), align=Align.RIGHT, rank=2) for name in each),
        Column(header="SHARE", align=Align.RIGHT),
        Column(header="", rank=1),
        *([Column(header="SIGN")] if is_unstable else []),
    )
    return Grid(
        columns=columns,
        rows=tuple(
            (
                Span(str(part["segment"]), _style(part)),
                Span(numbers.number(number(part["value"])), _style(part)),
                *([numbers.number(known_number(part["std"]))] if has_std else []),
                *(numbers.number(number(_by_baseline(part)[name])) for name in each),
                f"{100 * number(part['share']):.0f} %",
                sparklines.bar(number(part["share"]), width=BAR_WIDTH),
                *(["unstable" if part["unstable"] is True else ""] if is_unstable else []),
            )
            for part in top
        ),
    )


def _style(part: "Mapping[str, Json]") -> Style:
    return Style.FAINT if part["unstable"] is True else Style.PLAIN


def _by_baseline(part: "Mapping[str, Json]") -> "Mapping[str, Json]":
    found = part["by_baseline"]
    return found if isinstance(found, Mapping) else {}
