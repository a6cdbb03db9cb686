"""Analyse the runs of a sweep: which parameters matter, which region is best, why runs failed.

Examples:
  telemetry sweep demo-sweep
  telemetry sweep --tag lr-search --metric val_loss
  telemetry sweep --project demo-sweep --metric val_accuracy --goal max
  telemetry sweep cv --folds
  telemetry sweep demo-sweep --markdown
"""

from collections.abc import Sequence

import click

import telemetry
from telemetry.cli.cached_diagnosis import policy
from telemetry.cli.options import Settings, markdown_option, verb
from telemetry.cli.output.progress import tracked
from telemetry.cli.output.render import open_screen
from telemetry.cli.screens.store_warnings import show_warnings
from telemetry.cli.screens.sweep import show
from telemetry.compare.terms import Direction
from telemetry.errors import UsageError

GROUP = "Compare"
GOALS = {"min": Direction.LOWER, "max": Direction.HIGHER}


@verb(__name__, __doc__)
@click.argument("name", metavar="[PROJECT]", required=False)
@click.option(
    "--project", metavar="NAME", help="Use runs of this project or pattern, such as 'lr-*'."
)
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Use runs with this tag.")
@click.option(
    "--metric", metavar="NAME", help="Metric that ranks the runs (default: a validation loss)."
)
@click.option(
    "--goal",
    type=click.Choice(list(GOALS)),
    help="Which direction is better (default: from the metric's name).",
)
@click.option("--folds", is_flag=True, help="Average over the folds of each configuration.")
@markdown_option
@click.pass_obj
def command(
    settings: Settings,
    *,
    name: str | None,
    project: str | None,
    tags: tuple[str, ...],
    metric: str | None,
    goal: str | None,
    folds: bool,
) -> None:
    """Choose the runs, compare them, write what was learnt."""
    from telemetry.store.runs.select import filter_runs  # noqa: PLC0415 - keeps --help fast

    if name is not None and project is not None and name != project:
        raise UsageError(f"two projects were given, {name!r} and {project!r}; use one.")
    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    known = store.runs()
    runs = filter_runs(known, project=name or project, tags=tags)
    if not runs:
        there = ", ".join(sorted({run.project for run in known}))
        raise UsageError(f"{_asked(name or project, tags)}; the store has the projects {there}.")
    sweep = telemetry.sweep_runs(
        store,
        runs,
        metric=metric,
        goal=GOALS[goal] if goal is not None else None,
        policy=policy(),
        folds=folds,
        progress=lambda found: tracked(found, "diagnosing"),
    )
    show_warnings(screen, sweep.damage)
    show_warnings(screen, sweep.warnings)
    if screen.wants_json:
        screen.json(sweep.to_json())
    else:
        show(screen, sweep)


def _asked(project: str | None, tags: Sequence[str]) -> str:
    asked = [*([f"project {project!r}"] if project else []), *(f"tag {tag!r}" for tag in tags)]
    return f"no run has {' and '.join(asked)}"
