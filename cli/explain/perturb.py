"""`telemetry explain perturb`: how far can an input be changed before its answer turns wrong?"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from telemetry.cli.models.child import ask
from telemetry.cli.models.hypothesis_options import check_savable, hypothesis_options
from telemetry.cli.models.question import ModelQuestion, explain_verb
from telemetry.cli.output import numbers, sparklines
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style
from telemetry.cli.output.model_answers import (
    checks_grid,
    cost,
    known_number,
    mappings,
    number,
    show_failures,
)
from telemetry.cli.output.render import Screen
from telemetry.errors import UsageError
from telemetry.requests.evaluate import KIND as EVALUATE
from telemetry.requests.evaluate import EvaluateRequest
from telemetry.requests.explain.perturb import KIND, Group, PerturbRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry.json_values import Json

BAR_WIDTH = 10
_OF_NUMBERS = ("correct", "MARGIN")  # what a stretch has in common, and what is least in it
KEPT_SHARE = 0.95  # of the answers, by the hypothesis that a threshold becomes


@explain_verb(KIND)
@hypothesis_options("Append a hypothesis to the file: answers stay the same up to the threshold.")
def verb(
    question: ModelQuestion,
    request: PerturbRequest,
    /,
    *,
    save_hypothesis: str | None,
    file: Path,
) -> int:
    """Change one thing of an input more and more: when does its answer become wrong?

    Images are changed before normalisation, in shares of their value range; values outside it are
    clipped, and their share is shown. The threshold is accurate to an eighth of a step.

    Examples:
      telemetry explain perturb latest --example 4711 --axis brightness,hue
      telemetry explain perturb latest --all --axis blur --limit 500
      telemetry explain perturb latest --where "m_light = 'night'" --axis brightness
      telemetry explain perturb 7f3a --example 12 --axis feature:income
      telemetry explain perturb 7f3a --all --axis typo,case
      telemetry explain perturb latest --all --axis noise --save-hypothesis noisy
    """
    if save_hypothesis is not None:
        if len(request.axes) * max(1, len(request.examples)) != 1:
            raise UsageError("--save-hypothesis saves one threshold; use one axis and one example.")
        check_savable(file, save_hypothesis)
    if request.where is not None:
        request = replace(request, group=_group(question, request.where))
    found = question.ask(request)
    code = question.tell(found, show)
    if save_hypothesis is not None:
        save(file, save_hypothesis, found[0])
        question.screen.note(f"  hypothesis {save_hypothesis} is saved in {file}")
    return code


def _group(question: ModelQuestion, where: str) -> Group:
    """The examples that a condition means, of stored answers; without any they are made first.

    Raises:
        UsageError: no condition, no example fulfils it, or nothing can be evaluated.
    """
    from telemetry.evaluate.stored.groups import is_evaluated, members_of  # noqa: PLC0415 - duckdb

    dataset = question.stated.dataset
    if not is_evaluated(question.store, question.run, dataset) and question.keep.run is not None:
        judging = EvaluateRequest(source=question.source, run=question.keep.run)
        ask(EVALUATE.document(judging), "evaluating", question.timeout_s)
    ids = members_of(question.store, question.run, where, dataset)
    return Group(where=where, ids=ids)


def show(screen: Screen, found: "Mapping[str, Json]") -> None:
    """The answer, the course along the axis, and the checks."""
    screen.paragraph(str(found["answer"]))
    show_failures(screen, found)
    screen.blank()
    if found["example_id"] is None:
        screen.grid(_curve(screen, found))
    else:
        screen.grid(_course(found))
        screen.note(*_margins(screen, found))
    screen.blank()
    if found["checks"]:
        screen.grid(checks_grid(found))
    screen.paragraph(cost(found), indent=2)


def save(file: Path, name: str, found: "Mapping[str, Json]") -> None:
    """Keep a threshold as a hypothesis over the data set.

    Raises:
        UsageError: there is no threshold, or the file cannot take it.
    """
    from telemetry.evaluate.hypothesis_testing.file import append_hypothesis  # noqa: PLC0415 - as above
    from telemetry.evaluate.hypothesis_testing.hypothesis import (  # noqa: PLC0415 - keeps --help fast
        Expectation,
        Hypothesis,
        Kind,
        Op,
    )

    threshold, axis = found["threshold"], str(found["axis"])
    if threshold is None:
        raise UsageError(
            f"{axis} makes no correct answer wrong, so the hypothesis {name} is not saved."
        )
    if threshold == found["neutral"]:
        raise UsageError(
            f"{axis} has no value up to which all answers are correct, so the hypothesis "
            f"{name} is not saved."
        )
    transform = f"{axis}:{number(threshold):+.6g}"
    unit = f" ({found['unit']})" if found["unit"] else ""
    tolerance = known_number(found["tolerance"])
    stay = "stay" if tolerance is None else f"stay within {tolerance:g}"
    append_hypothesis(
        file,
        Hypothesis(
            name=name,
            statement=f"{100 * KEPT_SHARE:.0f} % of the answers {stay} under {transform}{unit}",
            kind=Kind.INVARIANCE,
            base=str(found["dataset"]),
            transform=transform,
            tolerance=tolerance,
            expect=Expectation(metric="accuracy", op=Op.AT_LEAST, value=KEPT_SHARE),
        ),
    )


def _course(found: "Mapping[str, Json]") -> Grid:
    """Stretches of the axis on which the answer is the same; of numbers, as right or as wrong."""
    same, surest = ("prediction", "P OF TRUTH") if found["tolerance"] is None else _OF_NUMBERS
    columns = (
        Column(header=str(found["axis"]).upper(), align=Align.RIGHT),
        Column(header="TO", align=Align.RIGHT),
        Column(header="ANSWER", shrinks=True),
        Column(header=""),
        Column(header=f"LEAST {surest}", align=Align.RIGHT),
        Column(header="MOST CLIPPED", align=Align.RIGHT, rank=1),
    )
    stretches: list[list[Mapping[str, Json]]] = []
    for row in mappings(found["rows"]):
        if stretches and stretches[-1][-1][same] == row[same]:
            stretches[-1].append(row)
        else:
            stretches.append([row])
    return Grid(columns=columns, rows=tuple(map(_stretch, stretches)))


def _margins(screen: Screen, found: "Mapping[str, Json]") -> tuple[Cell, ...]:
    """How surely the truth is answered over the axis, in characters."""
    margins = [number(row["margin"]) for row in mappings(found["rows"])]
    picture = sparklines.sparkline(margins, levels=screen.levels)
    low, high = numbers.number(min(margins)), numbers.number(max(margins))
    return ("  margin", Span(picture), f"{low} .. {high}")


def _stretch(rows: "Sequence[Mapping[str, Json]]") -> tuple[Cell, ...]:
    right = rows[0]["correct"] is True
    known = [number(row["margin" if row["p_label"] is None else "p_label"]) for row in rows]
    return (
        _short(rows[0]["value"]),
        _short(rows[-1]["value"]),
        " .. ".join(dict.fromkeys(str(row["prediction"]) for row in (rows[0], rows[-1]))),
        Span("right", Style.GOOD) if right else Span("wrong", Style.ERROR),
        numbers.number(min(known)),
        numbers.percent(max(number(row["clipped"]) for row in rows)),
    )


def _curve(screen: Screen, found: "Mapping[str, Json]") -> Grid:
    """Accuracy at each value, as a number and as a bar."""
    columns = (
        Column(header=str(found["axis"]).upper(), align=Align.RIGHT),
        Column(header="ACCURACY", align=Align.RIGHT),
        Column(header="95 %", align=Align.RIGHT),
        Column(header="CLIPPED", align=Align.RIGHT, rank=1),
        Column(header="", rank=2),
    )
    return Grid(
        columns=columns,
        rows=tuple(
            (
                _short(row["value"]),
                Span(
                    f"{100 * number(row['accuracy']):.1f} %",
                    Style.PLAIN if row["correct"] is True else Style.ERROR,
                ),
                f"{100 * number(row['ci_low']):.1f} .. {100 * number(row['ci_high']):.1f} %",
                numbers.percent(number(row["clipped"])),
                sparklines.bar(
                    number(row["accuracy"]), width=BAR_WIDTH, character=screen.levels[-1]
                ),
            )
            for row in mappings(found["rows"])
        ),
    )


def _short(value: "Json") -> str:
    return f"{number(value):.4g}"
