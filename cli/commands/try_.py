"""Test a remedy: run the recorded script again with it and without, and compare.

The script of the run is started again as it was recorded, in a copy of its working directory, and
ends after some steps. Nothing is changed in the script: a remedy acts from outside. The control,
without a remedy, must be the recorded run bit for bit; each pair of replays has the same seeds.

Exits with 0 if a remedy is confirmed, 3 if none is, 1 if the run cannot be replayed identically.

Examples:
  telemetry try latest
  telemetry try latest --remedy lr/8 --remedy clip=1.0
  telemetry try latest --all --dry-run
  telemetry try latest --all --jobs 2 --yes
  telemetry try --list
"""

import shlex
import sys
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.cached_diagnosis import policy
from telemetry.cli.experiments import carried_out, exit_code, show_experiment
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Column, Grid, Span, Style
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.errors import UsageError

if TYPE_CHECKING:
    from telemetry.store.runs.run import Run
    from telemetry.trials.plan import Plan

GROUP = "Diagnose"


@verb(__name__, __doc__)
@click.argument("run", metavar="[RUN]", shell_complete=complete_runs, default="latest")
@click.option(
    "--remedy",
    "remedies",
    metavar="NAME",
    multiple=True,
    help="Try this remedy, such as lr/8 or zero-grad (default: those of the causes that "
    "`telemetry diagnose` names).",
)
@click.option("--all", "everything", is_flag=True, help="Try every remedy.")
@click.option("--list", "lists", is_flag=True, help="List the remedies and stop.")
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    metavar="N",
    default=2,
    show_default=True,
    help="Run N pairs of replays; those after the first add to the seeds that the script sets.",
)
@click.option(
    "--steps",
    type=click.IntRange(min=1),
    metavar="N",
    help="Length of a replay (default: until the unchanged one shows the causes, at least 100 and "
    "a tenth of the run, at most 60 seconds, and ten minutes of all replays).",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Run N replays at the same time (default: as many as the cores allow).",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0, min_open=True),
    metavar="S",
    help="End a replay after this many seconds.",
)
@click.option("--dry-run", is_flag=True, help="Print what would run and its cost, and stop.")
@click.option("--yes", is_flag=True, help="Do not ask before the script is run.")
@click.option(
    "--in-place", is_flag=True, help="Run in the working directory itself, not in a copy."
)
@click.option("--changed-code", is_flag=True, help="Run the script even if it has changed since.")
@click.option("--trust-run", is_flag=True, help="Run the script of a run recorded elsewhere.")
@click.pass_obj
def command(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    *,
    run: str,
    remedies: tuple[str, ...],
    everything: bool,
    lists: bool,
    seeds: int,
    steps: int | None,
    jobs: int | None,
    timeout: float | None,
    dry_run: bool,
    yes: bool,
    in_place: bool,
    changed_code: bool,
    trust_run: bool,
) -> int:
    """Plan, ask, run and show."""
    from telemetry.trials.plan import plan_tries  # noqa: PLC0415 - duckdb, which --help does without

    screen = open_screen(settings)
    if lists:
        return _show_list(screen)
    store = telemetry.Store.open(settings.store)
    chosen = store.select(run)
    plan = plan_tries(
        store,
        chosen,
        remedies=remedies,
        everything=everything,
        seeds=seeds,
        steps=steps,
        changed_code=changed_code,
        trust=trust_run,
        policy=policy(),
    )
    if dry_run:
        _show_plan(screen, chosen, plan, in_place=in_place)
        return 0
    _ask(chosen, plan, yes=yes, in_place=in_place)
    tries = carried_out(store, chosen, plan, jobs=jobs, timeout_s=timeout, in_place=in_place)
    show_experiment(screen, chosen, tries)
    return exit_code(tries)


def _show_list(screen: Screen) -> int:
    from telemetry.trials.remedies import known_remedies  # noqa: PLC0415 - keeps --help fast

    known = known_remedies().values()
    if screen.wants_json:
        screen.json(
            {
                "remedies": [
                    {"id": one.id, "changes": one.changes, "doses": list(one.doses)}
                    for one in known
                ]
            }
        )
        return 0
    columns = (
        Column(header="remedy"),
        Column(header="what --all tries", folds=True),
        Column(header="what it does", folds=True),
    )
    rows = tuple((one.id, " ".join(one.doses), one.changes) for one in known)
    screen.grid(Grid(columns=columns, rows=rows))
    return 0


def _place(plan: "Plan", *, in_place: bool) -> str:
    return f"{'' if in_place else 'a copy of '}{plan.command.folder}"


def _show_plan(screen: Screen, run: "Run", plan: "Plan", *, in_place: bool) -> None:
    if screen.wants_json:
        screen.json({"run": run.to_json(), **plan.to_json()})
        return
    screen.line(Span(run.name, Style.STRONG), run.short, "nothing was run")
    screen.verbatim(shlex.join(plan.command.words), indent=2, label="command")
    screen.paragraph(_place(plan, in_place=in_place), indent=2, label="in")
    for one in plan.asked:
        cause = f" (for {one.treats})" if one.treats else ""
        screen.paragraph(f"{one.dose}: {one.changes}{cause}", indent=2, label="remedy")
    screen.paragraph(_cost(plan), indent=2, label="cost")


def _cost(plan: "Plan") -> str:
    longer = (
        ""
        if plan.most_steps == plan.steps
        else f" (up to {plan.most_steps} where causes take longer)"
    )
    return (
        f"up to {plan.n_replays} replays of {plural(plan.steps, 'step')}{longer}, "
        f"about {numbers.duration(plan.cost_s)} one after the other"
    )


def _ask(run: "Run", plan: "Plan", *, yes: bool, in_place: bool) -> None:
    """Say what will run, and ask whoever is there.

    Raises:
        UsageError: nobody is there, or they say no.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError(
            f"the script of {run.name} ({run.short}) would be run: "
            f"{shlex.join(plan.command.words)}; to run it without being asked, use --yes."
        )
    question = (
        f"Run {shlex.join(plan.command.words)} in {_place(plan, in_place=in_place)}: {_cost(plan)}?"
    )
    if not click.confirm(question, err=True, default=True):
        raise UsageError("nothing was run.")
