"""`telemetry explain reduce`: what is the least that must change to make a wrong answer right?"""

from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.cli.models.hypothesis_options import check_savable, hypothesis_options
from telemetry.cli.models.question import ModelQuestion, explain_verb
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid
from telemetry.cli.output.model_answers import (
    checks_grid,
    cost,
    listed,
    mappings,
    number,
    show_failures,
    show_picture,
)
from telemetry.cli.output.render import Screen
from telemetry.errors import UsageError
from telemetry.requests.explain.reduce import KIND, MODES, ReduceRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.json_values import Json


@explain_verb(KIND)
@hypothesis_options("Append a hypothesis to the file: this example is answered correctly.")
def verb(
    question: ModelQuestion,
    request: ReduceRequest,
    /,
    *,
    save_hypothesis: str | None,
    file: Path,
) -> int:
    """Find the smallest change of a wrongly answered input that makes the answer right.

    The wrong input is mixed with a correctly answered one: cells of an image, tokens or columns.
    The repair is the smallest set that corrects the answer; for an image, the region shows where
    the cause is. Name a correctly answered twin if you have one: a blurred image finds less.

    Examples:
      telemetry explain reduce latest --wrong 4711 --right 4712
      telemetry explain reduce latest --wrong 4711 --right clean.png --mode repair
      telemetry explain reduce latest --wrong photo.png --label cat
      telemetry explain reduce 7f3a --wrong 12 --immutable age,sex
    """
    if save_hypothesis is not None:
        check_savable(file, save_hypothesis)
    found = question.ask(request)
    code = question.tell(found, show)
    if save_hypothesis is not None:
        save(file, save_hypothesis, found[0])
        question.screen.note(f"  hypothesis {save_hypothesis} is saved in {file}")
    return code


def show(screen: Screen, found: "Mapping[str, Json]") -> None:
    """The answer, both sets, the picture, and the checks."""
    screen.paragraph(str(found["answer"]))
    show_failures(screen, found)
    screen.blank()
    show_picture(screen, found)
    sets = [(mode, entry) for mode in MODES if isinstance(entry := found[mode], dict)]
    if found["cell"] is None:
        screen.grid(_edits(sets))
    else:
        screen.grid(_cells(found, sets))
    screen.blank()
    screen.grid(checks_grid(found))
    for mode, entry in sets:
        if entry["proven"] is not True:
            screen.paragraph(f"{mode}: stopped by --max-calls; a smaller set may suffice", indent=2)
    calls = numbers.count(int(number(found["calls"])))
    tried = f"{calls} mixtures tried in {cost(found)}"
    screen.paragraph(f"{_probabilities(found)}{tried}", indent=2)


def save(file: Path, name: str, found: "Mapping[str, Json]") -> None:
    """Keep the wrong example as a hypothesis: it is answered rightly.

    Raises:
        UsageError: the file cannot take it, or the input is in no data set.
    """
    if found["file"] is not None:
        raise UsageError(
            f"{found['file']} is not in a data set, so the hypothesis {name} is not saved."
        )
    from telemetry.evaluate.hypothesis_testing.file import append_hypothesis  # noqa: PLC0415 - as above
    from telemetry.evaluate.hypothesis_testing.hypothesis import (  # noqa: PLC0415 - keeps --help fast
        Expectation,
        Hypothesis,
        Kind,
        Op,
    )

    example, tolerance = str(found["wrong_id"]), found["tolerance"]
    literal = example.replace("'", "''")
    said = f'is called "{found["label"]}"'
    expect = Expectation(metric="accuracy", op=Op.AT_LEAST, value=1.0)
    if tolerance is not None:
        said = f"is answered by {found['label']}, within {number(tolerance):g}"
        expect = Expectation(metric="mae", op=Op.AT_MOST, value=number(tolerance))
    append_hypothesis(
        file,
        Hypothesis(
            name=name,
            statement=f"Example {example} {said}",
            kind=Kind.SUBSET,
            base=str(found["dataset"]),
            where=f"example_id = '{literal}'",
            expect=expect,
        ),
    )


def _probabilities(found: "Mapping[str, Json]") -> str:
    """Of the truth, before and after; a regression has none."""
    if found["p_before"] is None:
        return ""
    before = numbers.number(number(found["p_before"]))
    if found["p_after"] is None:
        return f"p of the truth {before}; "
    return f"p of the truth {before} -> {numbers.number(number(found['p_after']))}; "


def _cells(found: "Mapping[str, Json]", sets: "list[tuple[str, dict[str, Json]]]") -> Grid:
    columns = (
        Column(header="SET"),
        Column(header="CELLS", align=Align.RIGHT),
        Column(header="PIXELS", align=Align.RIGHT),
        Column(header="PLACES", align=Align.RIGHT),
    )
    rows: list[tuple[Cell, ...]] = [
        _cell_row(mode, entry["parts"], entry["share"], entry["components"]) for mode, entry in sets
    ]
    if found["right_id"] is not None:
        region = (found["region"], found["region_share"], found["region_components"])
        rows.append(_cell_row("region", *region))
    return Grid(columns=columns, rows=tuple(rows))


def _cell_row(name: str, cells: "Json", share: "Json", places: "Json") -> tuple[Cell, ...]:
    return (name, str(len(listed(cells))), numbers.percent(number(share)), str(places))


def _edits(sets: "list[tuple[str, dict[str, Json]]]") -> Grid:
    columns = (
        Column(header="SET"),
        Column(header="PART", shrinks=True),
        Column(header="WRONG", shrinks=True),
        Column(header="RIGHT", shrinks=True),
    )
    return Grid(
        columns=columns,
        rows=tuple(
            (mode, str(edit["name"]), _value(edit["before"]), _value(edit["after"]))
            for mode, entry in sets
            for edit in mappings(entry["edits"])
        ),
    )


def _value(value: "Json") -> str:
    return numbers.number(value) if isinstance(value, float) else str(value or numbers.NOTHING)
