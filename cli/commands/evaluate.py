"""Run every example of a data set through a trained model, and keep one row for each.

The rows lie in the run as table `example_evals`: `telemetry query` reads them, `slices` finds the
groups that do worst. Model, weights and data set are those that the run names
(`TelemetryCallback(explain=...)`), else those that the options name.

Examples:
  telemetry evaluate latest
  telemetry evaluate latest --model shop:build --checkpoint best.pt --dataset shop:valid
  telemetry evaluate 7f3a --every-checkpoint
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli import numbers
from telemetry.cli.grid import Align, Column, Grid, Span, Style
from telemetry.cli.model_answers import known_number, mappings
from telemetry.cli.model_child import ask
from telemetry.cli.model_options import model_options, source_of, weights_of
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.render import Screen, open_screen
from telemetry.cli.texts import plural
from telemetry.errors import UsageError
from telemetry.explain_request import EvaluateRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.json_values import Json

SHOWN = 5  # worst examples on a terminal


@verb(__name__, __doc__)
@click.argument("run", metavar="RUN", shell_complete=complete_runs)
@model_options
@click.option("--batch", type=click.IntRange(min=1), default=64, help="Examples a forward.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The first N examples.")
@click.option("--every-checkpoint", is_flag=True, help="All files that --checkpoint fits.")
@click.option("--no-store", is_flag=True, help="Show the result and keep no rows.")
@click.pass_obj
def command(
    settings: Settings,
    /,
    *,
    run: str,
    batch: int,
    limit: int | None,
    every_checkpoint: bool,
    no_store: bool,
    trust_run: bool,
    **given: str | None,
) -> None:
    """Find the parts, let the child run the model, show what came out."""
    screen = open_screen(settings)
    chosen = telemetry.Store.open(settings.store).select(run)
    source = source_of(chosen, given, trust=trust_run)
    weights = weights_of(source, Path.cwd())
    if every_checkpoint and not weights:
        raise UsageError("--every-checkpoint of what? Give a pattern: --checkpoint 'ckpt/*.pt'.")
    request = EvaluateRequest(
        source=replace(source, checkpoint=None),
        checkpoints=tuple(map(str, weights if every_checkpoint else weights[-1:])),
        run=None if no_store else str(chosen.ref.path),
        batch=batch,
        limit=limit,
    )
    answer = ask(request.to_json(), "evaluating")
    found = mappings(answer.get("evaluations"))
    if screen.wants_json:
        screen.json({"run": chosen.run, "stored": not no_store, "evaluations": found})
        return
    for evaluation in found:
        show(screen, evaluation)


def show(screen: Screen, evaluation: "Mapping[str, Json]") -> None:
    """The answer first, then the worst examples."""
    screen.paragraph(sentence(evaluation))
    rows = mappings(evaluation.get("worst"))
    columns = (
        Column(header="EXAMPLE", shrinks=True),
        Column(header="LABEL", shrinks=True),
        Column(header="ANSWER", shrinks=True),
        Column(header="LOSS", align=Align.RIGHT),
        Column(header="CONFIDENCE", align=Align.RIGHT, rank=1),
    )
    shown = rows[:SHOWN] if screen.for_people else rows
    screen.blank()
    screen.grid(Grid(columns=columns, rows=tuple(map(_cells, shown))))


def sentence(evaluation: "Mapping[str, Json]") -> str:
    """What came out, in one sentence."""
    n = int(str(evaluation["examples"]))
    loss = numbers.number(known_number(evaluation["loss"]))
    accuracy = known_number(evaluation.get("accuracy"))
    what = f"{plural(n, 'example')} of {evaluation['dataset']}"
    where = f"weights {evaluation['checkpoint']}"
    if evaluation.get("step") is not None:
        where += f" of step {evaluation['step']}"
    if accuracy is None:
        return f"{what}: mean squared error {loss} ({where})."
    sure = int(str(evaluation["confident_errors"]))
    wrong = round(n * (1 - accuracy))
    return (
        f"{what}: {100 * accuracy:.1f} % right, loss {loss}; {wrong} wrong, {sure} of them with a "
        f"confidence of 90 % and more ({where})."
    )


def _cells(row: "Mapping[str, Json]") -> tuple[Span | str, ...]:
    is_class = row.get("prediction") is not None
    label = row.get("label") if is_class else numbers.number(known_number(row.get("target_value")))
    answer = row["prediction"] if is_class else numbers.number(known_number(row["predicted_value"]))
    wrong = is_class and label != answer
    return (
        str(row["example_id"]),
        numbers.NOTHING if label is None else str(label),
        Span(str(answer), Style.ERROR if wrong else Style.PLAIN),
        numbers.number(known_number(row.get("loss"))),
        numbers.number(known_number(row.get("confidence"))),
    )
