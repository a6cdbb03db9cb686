"""Read the runs of a sweep: which parameters matter, where the best region lies, why runs failed.

Examples:
  telemetry sweep demo-sweep
  telemetry sweep --tag lr-search --metric val_loss
  telemetry sweep --project demo-sweep --metric val_accuracy --goal max
  telemetry sweep demo-sweep --json
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli import numbers, sparklines
from telemetry.cli.damage import show_warnings, warn_of_files
from telemetry.cli.grid import Align, Column, Grid, Span, Style
from telemetry.cli.judging import judge_all, policy
from telemetry.cli.options import Settings, markdown_option, verb
from telemetry.cli.render import Screen, open_screen
from telemetry.cli.texts import plural
from telemetry.compare.diff_result import Direction
from telemetry.errors import UsageError
from telemetry.manifest import Status

if TYPE_CHECKING:
    from telemetry.compare.sweep_result import Failure, Parameter, Sweep, SweepRun

GOALS = {"min": Direction.LOWER, "max": Direction.HIGHER}
BAR_WIDTH = 10
SHOWN_RUNS = 5  # of a terminal; a pipe gets all


@verb(__name__, __doc__)
@click.argument("name", metavar="[PROJECT]", required=False)
@click.option("--project", metavar="NAME", help="Runs of this project; a pattern such as 'lr-*'.")
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Runs with this tag.")
@click.option("--metric", metavar="NAME", help="What ranks the runs; else a validation loss.")
@click.option("--goal", type=click.Choice(list(GOALS)), help="Else by the metric's name.")
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
) -> None:
    """Choose the runs, compare them, write what was learnt."""
    from telemetry.store.select import filter_runs  # noqa: PLC0415 - keeps --help fast

    if name is not None and project is not None and name != project:
        raise UsageError(f"two projects are given, {name!r} and {project!r}; give one.")
    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    known = store.runs()
    runs = filter_runs(known, project=name or project, tags=tags)
    if not runs:
        there = ", ".join(sorted({run.project for run in known}))
        raise UsageError(f"no run fits; there are the projects {there}.")
    judge_all(store, runs)
    sweep = telemetry.sweep_runs(
        store,
        runs,
        metric=metric,
        goal=GOALS[goal] if goal is not None else None,
        policy=policy(),
    )
    warn_of_files(screen, runs)
    show_warnings(screen, sweep.warnings)
    if screen.wants_json:
        screen.json(sweep.to_json())
    else:
        show(screen, sweep)


def show(screen: Screen, sweep: "Sweep") -> None:
    """The best run first, then parameters, failures and the ranking."""
    goal = "lowest" if sweep.goal is Direction.LOWER else "highest"
    n_failed = sum(entry.run.status in {Status.FAILED, Status.KILLED} for entry in sweep.runs)
    finite = [entry for entry in sweep.runs if entry.value is not None]
    screen.line(
        Span(plural(len(sweep.runs), "run"), Style.STRONG),
        *([Span(f"{n_failed} failed", Style.ERROR)] if n_failed else []),
        f"{goal} {sweep.metric}",
        *([_best(finite[0])] if finite else ["none is finite"]),
        *([f"seed noise {numbers.number(sweep.seed_noise)}"] if sweep.seed_noise else []),
    )
    _show_parameters(screen, sweep.parameters)
    _show_failures(screen, sweep.failures)
    _show_runs(screen, sweep)


def _best(entry: "SweepRun") -> Span:
    return Span(f"best {entry.run.name} {entry.run.short} {numbers.number(entry.value)}")


def _show_parameters(screen: Screen, parameters: Sequence["Parameter"]) -> None:
    columns = (
        Column(header="PARAMETER", shrinks=True),
        Column(header="", rank=2),
        Column(header="IMPORTANCE", align=Align.RIGHT),
        Column(header="95 % INTERVAL", align=Align.RIGHT),
        Column(header="BEST REGION", shrinks=True),
        Column(header="low -> high", rank=1),
    )
    rows = tuple(
        (
            Span(entry.name, Style.STRONG if entry.important else Style.PLAIN),
            sparklines.bar(entry.importance, width=BAR_WIDTH),
            f"{entry.importance:.2f}",
            f"{entry.ci_low:.2f} .. {entry.ci_high:.2f}",
            entry.best if entry.important else Span("not separable", Style.FAINT),
            screen.trend([point.median for point in entry.effect]),
        )
        for entry in parameters
    )
    if rows:
        screen.blank()
        screen.grid(Grid(columns=columns, rows=rows))


def _show_failures(screen: Screen, failures: Sequence["Failure"]) -> None:
    if failures:
        screen.blank()
    for entry in failures:
        rule = (
            f"where {entry.rule} ({entry.matching_runs} of {entry.rule_runs} there, "
            f"{entry.failed_runs - entry.matching_runs} elsewhere)"
            if entry.rule
            else "under no simple rule"
        )
        text = f"{entry.detector} in {plural(entry.failed_runs, 'run')}, {rule}"
        screen.paragraph(text, indent=2, label="FAILURE")


def _show_runs(screen: Screen, sweep: "Sweep") -> None:
    names = [entry.name for entry in sweep.parameters]
    columns = (
        Column(header="RUN"),
        Column(header="NAME", shrinks=True),
        Column(header="STATUS"),
        Column(header=sweep.metric, align=Align.RIGHT),
        *(
            Column(header=name, align=Align.RIGHT, rank=rank)
            for rank, name in enumerate(names, start=1)
        ),
    )
    shown = sweep.runs[:SHOWN_RUNS] if screen.for_people else sweep.runs
    rows = tuple(
        (
            entry.run.short,
            entry.run.name,
            f"{entry.run.status}, diverged" if entry.diverged else entry.run.status,
            numbers.number(entry.value),
            *(numbers.literal(entry.parameters.get(name)) for name in names),
        )
        for entry in shown
    )
    screen.blank()
    screen.grid(Grid(columns=columns, rows=rows))
    if len(shown) < len(sweep.runs):
        screen.note(Span(f"  {len(sweep.runs) - len(shown)} more with --json", Style.FAINT))
