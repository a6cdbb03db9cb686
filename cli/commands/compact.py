"""Merge the many small files of a run into a few large ones; the rows stay the same.

A run is merged automatically when it ends. Use this command for runs that were killed, or recorded
where no child process could be started. It also removes half-written files of killed processes.

Examples:
  telemetry compact
  telemetry compact latest
  telemetry compact "sweep/*" --now
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style
from telemetry.cli.output.progress import tracked
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.errors import StoreUnreadable
from telemetry.json_values import Json

if TYPE_CHECKING:
    from telemetry.store.runs.run import Run
    from telemetry.store.upkeep.compact import Compaction

    Outcome = tuple[Run, Compaction]


GROUP = "Data"


@verb(__name__, __doc__)
@click.argument("selectors", metavar="[RUN]...", shell_complete=complete_runs, nargs=-1)
@click.option(
    "--now",
    is_flag=True,
    help="Remove the merged files at once (by default they stay for a minute, so that running "
    "queries can finish reading them).",
)
@click.pass_obj
def command(settings: Settings, *, selectors: tuple[str, ...], now: bool) -> None:
    """Merge, sweep, report."""
    import time  # noqa: PLC0415 - keeps --help fast

    from telemetry.store.runs.select import select_groups  # noqa: PLC0415 - keeps --help fast
    from telemetry.store.upkeep.compact import compact_run  # noqa: PLC0415 - keeps --help fast
    from telemetry.store.upkeep.compaction import GRACE_S  # noqa: PLC0415 - keeps --help fast
    from telemetry.store.upkeep.leftovers import remove_leftovers  # noqa: PLC0415 - keeps --help fast

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    known = store.runs()
    runs = select_groups(known, selectors) if selectors else known
    outcomes = []
    for run in tracked(runs, "merging"):
        try:
            outcomes.append((run, compact_run(run.ref, grace_s=0.0 if now else GRACE_S)))
        except StoreUnreadable as error:
            screen.warn(str(error))
        except OSError as error:
            raise StoreUnreadable(
                f"{run.run} was not merged ({error.strerror or error}); runs merged before stay "
                "merged. Free some disk space or check the permissions of the store."
            ) from error
    n_leftovers = remove_leftovers(store.path, now_s=time.time())
    if screen.wants_json:
        screen.json(_document(outcomes, n_leftovers))
    else:
        _show(screen, outcomes, n_leftovers)


def _document(outcomes: Sequence["Outcome"], n_leftovers: int) -> dict[str, Json]:
    return {
        "runs": [
            {
                "run": run.run,
                "files_before": len(found.before),
                "files_after": len(found.after),
                "bytes_before": sum(found.before),
                "bytes_after": sum(found.after),
                "skipped": found.reason or None,
            }
            for run, found in outcomes
        ],
        "leftovers_removed": n_leftovers,
    }


def _show(screen: Screen, outcomes: Sequence["Outcome"], n_leftovers: int) -> None:
    shown = [(run, found) for run, found in outcomes if found.merged.n_outputs or found.reason]
    if shown:
        screen.grid(Grid(columns=_COLUMNS, rows=tuple(_row(*one) for one in shown)), indent=0)
    n_merged = sum(found.merged.n_outputs > 0 for _, found in outcomes)
    words = f"{plural(n_merged, 'run')} merged" if n_merged else "nothing to merge"
    if n_leftovers:
        words += f", {plural(n_leftovers, 'leftover folder')} removed"
    screen.note(Span(words, Style.STRONG))


_COLUMNS = (
    Column(header="RUN"),
    Column(header="NAME", shrinks=True),
    Column(header="FILES", align=Align.RIGHT),
    Column(header="SIZE", align=Align.RIGHT),
    Column(header="", shrinks=True),
)


def _row(run: "Run", found: "Compaction") -> tuple[str, ...]:
    return (
        run.run,
        run.name,
        f"{len(found.before)} -> {len(found.after)}",
        f"{numbers.size(sum(found.before))} -> {numbers.size(sum(found.after))}",
        found.reason and f"skipped: {found.reason}",
    )
