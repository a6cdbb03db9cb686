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

import click

import telemetry
from telemetry.cli.evaluation_screen import has_errors, show
from telemetry.cli.model_answers import mappings
from telemetry.cli.model_child import ask
from telemetry.cli.model_options import as_words, model_options, source_of, weights_of
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.render import open_screen
from telemetry.errors import UsageError
from telemetry.explain_request import EvaluateRequest


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
    show(screen, found)
    if has_errors(found[-1]) and screen.for_people:
        words = " ".join(("telemetry explain input", chosen.short, "--worst 1", *as_words(given)))
        screen.blank()
        screen.verbatim(words, indent=2, label="NEXT")
