"""Run every example of a data set through a trained model, and store one row for each.

The rows are stored in the run as table `example_evals`: `telemetry query` reads them, and `slices`
finds the groups with the worst results. Options name the model, weights and data set; by default
they are those that the run names (`TelemetryCallback(explain=...)`).

A file of weights gets its own run, with the tag `checkpoint`. The same weights always get the same
run, and commands that need no model (`slices`, `hypotheses compare`) can use it like any other run.

Examples:
  telemetry evaluate latest
  telemetry evaluate latest --model shop:build --checkpoint best.pt --dataset shop:valid
  telemetry evaluate old.pt new.pt --model shop:build --dataset shop:valid
  telemetry evaluate 7f3a --every-checkpoint
"""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from telemetry.cli.models.child import ask_each
from telemetry.cli.models.named import AskedModel, asked_models, kept_models
from telemetry.cli.models.options import (
    TIMEOUT,
    as_words,
    model_options,
    weights_of,
)
from telemetry.cli.models.setting_options import with_settings
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output.grid import Span, Style
from telemetry.cli.output.model_answers import mappings
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.screens.evaluation import has_errors, show
from telemetry.errors import UsageError
from telemetry.requests.evaluate import KIND, EvaluateRequest
from telemetry.requests.models import ModelSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from telemetry.json_values import Json


GROUP = "Explain"


@verb(__name__, __doc__)
@click.argument(
    "names", metavar="RUN|CKPT...", nargs=-1, required=True, shell_complete=complete_runs
)
@model_options
@with_settings(EvaluateRequest)
@click.option(
    "--every-checkpoint", is_flag=True, help="Evaluate all files that match --checkpoint."
)
@click.option("--no-store", is_flag=True, help="Show the result without saving it.")
@TIMEOUT
@click.pass_obj
def command(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    /,
    *,
    names: tuple[str, ...],
    batch: int,
    limit: int | None,
    every_checkpoint: bool,
    no_store: bool,
    timeout: float | None,
    trust_run: bool,
    **given: str | None,
) -> None:
    """Find the parts, let the child run the models, show what came out."""
    screen = open_screen(settings)
    models = asked_models(settings.store, names, given, trust=trust_run)
    requests = [
        EvaluateRequest(
            source=replace(model.source, checkpoint=None),
            checkpoints=_weights(model.source, every=every_checkpoint),
            run=None if no_store else str(model.run.ref.path),
            batch=batch,
            limit=limit,
        )
        for model in models
    ]
    with kept_models(() if no_store else models):
        answers = ask_each(KIND, requests, "evaluating", timeout)
    found = [mappings(answer.get("evaluations")) for answer in answers]
    if screen.wants_json:
        evaluations = [
            {**one, "run": model.run.run}
            for model, own in zip(models, found, strict=True)
            for one in own
        ]
        run = models[0].run.run
        screen.json({"run": run, "stored": not no_store, "evaluations": evaluations})
        return
    for model, own in zip(models, found, strict=True):
        if len(models) > 1:
            screen.line(Span(model.run.name, Style.STRONG), model.run.short)
        show(screen, own)
        if screen.for_people:
            _say_what_next(screen, model, own[-1], given, is_kept=not no_store)


def _weights(source: ModelSource, *, every: bool) -> tuple[str, ...]:
    """The files that are evaluated: all that fit, or the newest; empty where none is named.

    Raises:
        UsageError: all are wanted, and no pattern says which.
    """
    weights = weights_of(source, Path.cwd())
    if every and not weights:
        raise UsageError("--every-checkpoint needs a pattern: --checkpoint 'ckpt/*.pt'.")
    return tuple(map(str, weights if every else weights[-1:]))


def _say_what_next(
    screen: Screen,
    model: AskedModel,
    last: "Mapping[str, Json]",
    given: "Mapping[str, str | None]",
    *,
    is_kept: bool,
) -> None:
    """How to go on, and by which name, with a model that errs."""
    screen.blank()
    if model.is_bare and is_kept:
        known_as = (
            f"{model.run.name} is saved as run {model.run.short}, which can rebuild its model"
        )
        screen.paragraph(known_as, indent=2, label="RUN")
    if has_errors(last) and (is_kept or not model.is_bare):
        words = () if model.is_bare else as_words(given)
        command = ("telemetry explain input", model.run.short, "--worst 1", *words)
        screen.verbatim(" ".join(command), indent=2, label="NEXT")
