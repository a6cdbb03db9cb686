"""Delete runs, after a confirmation on a terminal; elsewhere --yes is needed.

Examples:
  telemetry delete 7f3a
  telemetry delete "sweep/*" --dry-run
  telemetry delete tag=scratch --yes
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style, counted
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.errors import UsageError

if TYPE_CHECKING:
    from telemetry.store.runs.run import Run


GROUP = "Data"


@verb(__name__, __doc__)
@click.argument(
    "selectors", metavar="RUN...", shell_complete=complete_runs, nargs=-1, required=True
)
@click.option("--dry-run", is_flag=True, help="List what would be deleted and delete nothing.")
@click.option("--yes", is_flag=True, help="Delete without asking.")
@click.option("--force", is_flag=True, help="Also delete runs that are still running.")
@click.pass_obj
def command(
    settings: Settings, *, selectors: tuple[str, ...], dry_run: bool, yes: bool, force: bool
) -> None:
    """List, ask, delete."""
    from telemetry.store.runs.select import select_groups  # noqa: PLC0415 - keeps --help fast
    from telemetry.store.upkeep.archive import delete_runs  # noqa: PLC0415 - keeps --help fast

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    runs = select_groups(store.runs(), selectors)
    if not screen.wants_json:
        _list(screen, runs)
    if not dry_run:
        if not yes:
            _ask(runs)
        delete_runs(store, runs, force=force)
    _report(screen, runs, deleted=not dry_run)


def _ask(runs: Sequence["Run"]) -> None:
    if not sys.stdin.isatty():
        raise UsageError(
            f"{plural(len(runs), 'run')} would be deleted, but there is no terminal to ask for "
            "confirmation; add --yes, or use --dry-run to look first."
        )
    click.confirm(f"delete {plural(len(runs), 'run')}?", abort=True, err=True)


def _list(screen: Screen, runs: Sequence["Run"]) -> None:
    columns = (
        Column(header="RUN"),
        Column(header="PROJECT", shrinks=True, rank=1),
        Column(header="NAME", shrinks=True),
        Column(header="STATUS"),
        Column(header="STEPS", align=Align.RIGHT),
        Column(header="SIZE", align=Align.RIGHT),
    )
    rows = tuple(
        (run.run, run.project, run.name, run.status, counted(run.steps), numbers.size(size(run)))
        for run in runs
    )
    screen.grid(Grid(columns=columns, rows=rows), indent=0)


def size(run: "Run") -> int:
    """Bytes of the files of a run."""
    total = 0
    for path in run.ref.path.rglob("*"):
        with suppress(OSError):  # merged or removed meanwhile
            total += path.lstat().st_size
    return total


def _report(screen: Screen, runs: Sequence["Run"], *, deleted: bool) -> None:
    if screen.wants_json:
        screen.json({"runs": [run.run for run in runs], "deleted": deleted})
    else:
        words = "deleted" if deleted else "would be deleted; nothing was deleted"
        screen.note(Span(f"{plural(len(runs), 'run')} {words}", Style.STRONG))
