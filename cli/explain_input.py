"""`telemetry explain input`: which parts of one input made the model answer as it does."""

from typing import TYPE_CHECKING

import click

from telemetry.cli import numbers, sparklines
from telemetry.cli.grid import Align, Column, Grid
from telemetry.cli.model_answers import checks_grid, colours, mappings, show_failures
from telemetry.cli.model_question import RUN, ModelQuestion, model_question
from telemetry.cli.options import VerbGroup
from telemetry.cli.render import Screen
from telemetry.errors import UsageError
from telemetry.explain_request import AttributeRequest, EvaluateRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from telemetry.explain_request import ModelSource
    from telemetry.json_values import Json

METHODS = ("ig", "occlusion", "lime", "kernelshap", "deconv", "guided")
SHOWN_PARTS = 5
BAR_WIDTH = 10


def add_input(group: VerbGroup) -> None:
    """Add the part to `telemetry explain`."""
    group.part("input")(explain_input)


@RUN
@click.option("--example", "examples", metavar="ID", multiple=True, help="Id or place; repeatable.")
@click.option("--worst", type=click.IntRange(min=1), metavar="N", help="The N largest losses.")
@click.option(
    "--input",
    "files",
    metavar="FILE",
    multiple=True,
    help="An input in a file: .png, .jpg, .npy, .pt, .json, .txt; repeatable.",
)
@click.option("--label", metavar="CLASS", help="True class of the input in a file.")
@click.option(
    "--target",
    metavar="WHAT",
    help="wrong, pred, true, or a class; else wrong, of a file without --label pred.",
)
@click.option("--method", type=click.Choice(METHODS), default="ig", show_default=True, help="How.")
@click.option("--segments", metavar="HOW", help="grid:6x6, token or feature.")
@click.option("--baseline", metavar="NAME", help="zero, blur, mean, class-sample:16, ...")
@click.option("--samples", type=click.IntRange(min=10), metavar="N", help="Of lime, kernelshap.")
@click.option("--seed", type=int, default=0, help="Of what is drawn.")
@click.option("--embedding", metavar="LAYER", help="Module that embeds tokens.")
@click.option("--no-checks", is_flag=True, help="Skip the checks that cost most.")
@click.option("--batch", type=click.IntRange(min=1), default=64, help="Inputs a forward.")
@model_question
def explain_input(  # noqa: PLR0913 - one argument per option
    question: ModelQuestion,
    /,
    *,
    examples: tuple[str, ...],
    worst: int | None,
    files: tuple[str, ...],
    label: str | None,
    target: str | None,
    method: str,
    segments: str | None,
    baseline: str | None,
    samples: int | None,
    seed: int,
    embedding: str | None,
    no_checks: bool,
    batch: int,
) -> int:
    """Say which parts of one input made the model answer as it does.

    The default asks about a wrong answer: what pushes towards it and away from the truth. Every
    answer is held against checks; one that fails is said, and ends with exit code 3.

    Examples:
      telemetry explain input latest --example 4711
      telemetry explain input latest --worst 3 --method occlusion
      telemetry explain input 7f3a --example 12 --target pred --method lime
      telemetry explain input latest --input photo.png --label cat
    """
    if [bool(examples), worst is not None, bool(files)].count(True) != 1:
        raise UsageError("explain which input? Say --example ID, --worst N, or --input FILE.")
    if label is not None and not files:
        raise UsageError("--label CLASS: the data set knows it; it is for --input FILE.")
    source = question.source
    request = AttributeRequest(
        source=source,
        examples=examples or (() if files else _worst(question, source, worst or 1, batch)),
        files=files,
        label=label,
        keep=question.keep,
        target=target or ("pred" if files and label is None else "wrong"),
        method=method,
        segments=segments,
        baseline=baseline,
        samples=samples,
        seed=seed,
        batch=batch,
        check=not no_checks,
        embedding=embedding,
    )
    found = question.ask(request, "explaining", "attributions")
    return question.tell("attributions", found, show)


def show(screen: Screen, attribution: "Mapping[str, Json]") -> None:
    """The answer, then the parts, the picture, and the checks."""
    screen.paragraph(str(attribution["answer"]))
    show_failures(screen, attribution)
    screen.blank()
    screen.picture(colours(attribution.get("grid")))
    screen.grid(_parts(mappings(attribution["top"])[:SHOWN_PARTS]))
    screen.blank()
    screen.grid(checks_grid(attribution))


def _parts(top: "Sequence[Mapping[str, Json]]") -> Grid:
    columns = (
        Column(header="PART", shrinks=True),
        Column(header="VALUE", align=Align.RIGHT),
        Column(header="SHARE", align=Align.RIGHT),
        Column(header="", rank=1),
    )
    return Grid(
        columns=columns,
        rows=tuple(
            (
                str(part["segment"]),
                numbers.number(float(str(part["value"]))),
                f"{100 * float(str(part['share'])):.0f} %",
                sparklines.bar(float(str(part["share"])), width=BAR_WIDTH),
            )
            for part in top
        ),
    )


def _worst(
    question: ModelQuestion, source: "ModelSource", count: int, batch: int
) -> tuple[str, ...]:
    """Ids of the examples of the largest loss; the whole data set is evaluated for it."""
    request = EvaluateRequest(source=source, batch=batch)
    (evaluation,) = question.ask(request, "evaluating", "evaluations")
    worst = mappings(evaluation["worst"])
    return tuple(str(row["example_id"]) for row in worst[:count])
