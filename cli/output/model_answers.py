"""What the answers of the process that runs a model have in common, and how it is shown."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style, Word
from telemetry.cli.output.render import Screen

if TYPE_CHECKING:
    from telemetry.json_values import Json


def listed(value: "Json") -> "Sequence[Json]":
    """A list of an answer; empty where there is none."""
    return value if isinstance(value, list) else ()


def mappings(value: "Json") -> "list[Mapping[str, Json]]":
    """The objects of a list of an answer."""
    return [entry for entry in listed(value) if isinstance(entry, Mapping)]


def number(value: "Json") -> float:
    """A number of an answer; those that are not finite travel as texts."""
    return float(str(value))


def known_number(value: "Json") -> float | None:
    """The same, None where there is none."""
    return None if value is None else number(value)


def show_picture(screen: Screen, answer: "Mapping[str, Json]") -> None:
    """What an answer has of an image or of texts, and what its colours and signs mean."""
    rows = [[str(colour) for colour in listed(row)] for row in listed(answer.get("grid"))]
    marks = [str(line) for line in listed(answer.get("marks"))]
    texts = mappings(answer.get("texts"))
    if not rows and not texts:
        return
    screen.picture(rows, marks)
    for text in texts:
        words = [
            Word(*(str(token[name]) for name in ("text", "mark", "colour", "ink")))
            for token in mappings(text.get("tokens"))
        ]
        screen.words(words, label=str(text.get("name") or ""))
    screen.paragraph(str(answer["legend"]), indent=2)
    screen.blank()


def show_failures(screen: Screen, answer: "Mapping[str, Json]") -> None:
    """The checks that failed, as loud as the answer, and what else a reader must know."""
    for check in mappings(answer["checks"]):
        if check["ok"] is not True:
            screen.line(Span("FAILED", Style.ERROR), f"{check['name']}: {check['meaning']}")
    for warning in listed(answer.get("warnings")):
        screen.line(Span("note", Style.WARNING), str(warning))


def cost(answer: "Mapping[str, Json]") -> str:
    """What an answer has cost, in words."""
    seconds = numbers.duration(number(answer["seconds"]))
    return f"{numbers.count(int(number(answer['forwards'])))} forward passes, {seconds}"


def checks_grid(answer: "Mapping[str, Json]") -> Grid:
    """Every check with its value and its limit."""
    columns = (
        Column(header="CHECK"),
        Column(header="VALUE", align=Align.RIGHT),
        Column(header="LIMIT", align=Align.RIGHT),
        Column(header=""),
    )
    return Grid(
        columns=columns,
        rows=tuple(
            (
                str(check["name"]),
                numbers.number(number(check["value"])),
                numbers.number(number(check["threshold"])),
                Span("passed", Style.GOOD) if check["ok"] is True else Span("FAILED", Style.ERROR),
            )
            for check in mappings(answer["checks"])
        ),
    )
