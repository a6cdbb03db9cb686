"""Look for damage in a store: incomplete, changed, lost and foreign files.

Nothing is changed. Without --verify, only names, sizes and footers are checked; with it, every
file is read and compared with its checksums. Exit code 1 means that something is wrong.

Examples:
  telemetry doctor
  telemetry doctor --verify
  telemetry doctor latest --verify --json
"""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output.grid import Span, Style
from telemetry.cli.output.progress import tracked
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural

if TYPE_CHECKING:
    from telemetry.store.upkeep.doctor import Complaint


GROUP = "Diagnose"


@verb(__name__, __doc__)
@click.argument("selectors", metavar="[RUN]...", shell_complete=complete_runs, nargs=-1)
@click.option("--verify", is_flag=True, help="Read every file and check its contents.")
@click.pass_context
def command(context: click.Context, *, selectors: tuple[str, ...], verify: bool) -> None:
    """Examine, show, and end with 1 where something is wrong."""
    from telemetry.store.runs.select import select_groups  # noqa: PLC0415 - keeps --help fast
    from telemetry.store.upkeep.doctor import examine_run, examine_store  # noqa: PLC0415 - --help

    settings: Settings = context.obj
    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    known = store.runs()
    runs = select_groups(known, selectors) if selectors else known
    found = [
        complaint
        for run in tracked(runs, "examining")
        for complaint in examine_run(run, verify=verify)
    ]
    if not selectors:
        found += examine_store(store.path, now_s=time.time())
    _show(screen, found, n_runs=len(runs), verify=verify)
    context.exit(1 if found else 0)


def _show(screen: Screen, found: Sequence["Complaint"], *, n_runs: int, verify: bool) -> None:
    if screen.wants_json:
        complaints = [{"run": one.run or None, "text": one.text} for one in found]
        screen.json({"complaints": complaints, "runs": n_runs, "verified": verify})
        return
    for one in found:
        screen.paragraph(one.text)
    how = (
        "every file was read"
        if verify
        else "checked names, sizes and footers; --verify reads every file"
    )
    problems = plural(len(found), "problem") if found else "no problems"
    screen.line(Span(f"{plural(n_runs, 'run')}: {problems} ({how})", Style.STRONG))
