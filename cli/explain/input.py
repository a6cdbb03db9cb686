"""`telemetry explain input`: which parts of one input made the model answer as it does."""

import re
from collections import Counter
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
LEADERS = 3  # parts that lead several answers
_PLACE = re.compile(r"\d+(-\d+)?:")  # of a token in its text
RECALLED = "the run has this answer already; --again computes it again"


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
    early = _Early(question.screen)
    found = question.ask(request, early.told)
    if len(found) > 1 and not question.screen.wants_json:
        question.screen.paragraph(summed_up(found))
        question.screen.blank()
    return question.tell(found, early.show)


def summed_up(found: "Sequence[Mapping[str, Json]]") -> str:
    """What leads several answers, the most frequent part first; tokens wherever they stand."""
    leads = Counter(
        _PLACE.sub("", str(max(parts, key=lambda part: number(part["value"]))["segment"]), count=1)
        for one in found
        if (parts := mappings(one["top"]))
    )
    told = [f"{part} leads in {n} of {len(found)}" for part, n in leads.most_common(LEADERS)]
    rest = len(leads) - len(told)
    return "; ".join(told) + (f"; {rest} other parts lead the others" if rest > 0 else "")


class _Early:
    """Shows each answer as soon as it is there, and afterwards what became of it.

    Args:
        screen: Of people.
    """

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._shown: list[Json] = []  # examples

    def told(self, message: "Mapping[str, Json]") -> None:
        """What is known before the answer is whole."""
        first, check = message.get("first"), message.get("check")
        if isinstance(first, Mapping):
            self._shown.append(first["example_id"])
            self._screen.paragraph(f"{first['answer']} The checks follow.")
            self._screen.blank()
            show_picture(self._screen, first)
            self._screen.grid(_parts_of(first))
            self._screen.blank()
        elif isinstance(check, Mapping):
            said = "passed" if check["ok"] is True else f"FAILED: {check['meaning']}"
            self._screen.note(Span(f"{check['name']} {said}", Style.FAINT))
        elif "note" in message:
            self._screen.note(Span(str(message["note"]), Style.FAINT))

    def show(self, screen: Screen, attribution: "Mapping[str, Json]") -> None:
        """The whole answer; a map that was shown already is not shown again."""
        show(screen, attribution, has_map=attribution["example_id"] not in self._shown)


def show(screen: Screen, attribution: "Mapping[str, Json]", *, has_map: bool = True) -> None:
    """The answer, then the parts, the picture, and the checks."""
    screen.paragraph(str(attribution["answer"]))
    if attribution["recalled"] is True:
        screen.paragraph(RECALLED, label="note")
    failed = [check["name"] for check in mappings(attribution["checks"]) if check["ok"] is not True]
    if failed:  # the answer says what each means
        screen.line(Span("FAILED", Style.ERROR), ", ".join(map(str, failed)))
    for warning in listed(attribution["warnings"]):
        screen.paragraph(str(warning), label="note")
    instead = _instead(mappings(attribution["changed"]))
    if instead:
        screen.paragraph(instead, label="hidden")
    screen.blank()
    if has_map:
        show_picture(screen, attribution)
        screen.grid(_parts_of(attribution))
        screen.blank()
    screen.grid(checks_grid(attribution))


def _parts_of(attribution: "Mapping[str, Json]") -> Grid:
    baselines = [str(name) for name in listed(attribution["baselines"])]
    return _parts(mappings(attribution["top"])[:SHOWN_PARTS], baselines)


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
    is_table = any(part["given"] is not None for part in top)
    is_unstable = any(part["unstable"] is True for part in top)
    columns = (
        Column(header="PART", shrinks=True),
        *(_GIVEN_COLUMNS if is_table else ()),
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
                *(_given(part) if is_table else ()),
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


_GIVEN_COLUMNS = (
    Column(header="IS", align=Align.RIGHT),
    Column(header="REFERENCE", align=Align.RIGHT),
)


def _given(part: "Mapping[str, Json]") -> tuple[str, str]:
    """What a column is, with its unit, and what it was compared with."""
    given = part["given"]
    if not isinstance(given, Mapping):
        return numbers.NOTHING, numbers.NOTHING
    unit = f" {given['unit']}" if given["unit"] else ""
    return f"{_known(given['value'])}{unit}", _known(given["reference"])


def _known(value: "Json") -> str:
    return value if isinstance(value, str) else numbers.number(known_number(value))


def _style(part: "Mapping[str, Json]") -> Style:
    return Style.FAINT if part["unstable"] is True else Style.PLAIN


def _by_baseline(part: "Mapping[str, Json]") -> "Mapping[str, Json]":
    found = part["by_baseline"]
    return found if isinstance(found, Mapping) else {}
