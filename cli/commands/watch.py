"""Watch runs while they are recorded: curves, gradient norms of the layers, findings, pace.

Examples:
  telemetry watch
  telemetry watch latest latest~1
  telemetry watch latest --json
"""

import os
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.cached_diagnosis import judged
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output import render
from telemetry.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.compare.watch.watcher import RunWatch

GROUP = "Look"
INSTALL = (
    "`telemetry watch` needs textual, which is not installed; install it with "
    "`pip install 'training-telemetry[watch]'`, or follow the findings with "
    "`telemetry diagnose --follow`."
)


@verb(__name__, __doc__)
@click.argument("selectors", metavar="[RUN]...", shell_complete=complete_runs, nargs=-1)
@click.pass_obj
def command(settings: Settings, *, selectors: tuple[str, ...]) -> None:
    """Choose the runs, and show them until the user has seen enough."""
    from telemetry.store.runs.select import select_groups  # noqa: PLC0415 - keeps --help fast

    store = telemetry.Store.open(settings.store)
    runs = select_groups(store.runs(), selectors or ("latest",))
    watches = telemetry.watch_runs(store, runs, diagnose=lambda run: judged(store, run))
    if settings.output_json:
        _print(settings, watches)
        return
    if not render.is_terminal():
        raise UsageError(
            "`telemetry watch` fills a terminal, and stdout is none; `telemetry watch --json` "
            "prints one look, `telemetry diagnose --follow` prints findings as they come."
        )
    _open(settings, watches)


def _print(settings: Settings, watches: "Sequence[RunWatch]") -> None:
    """One look at each run, as JSON."""
    seen = [watch.judge() or watch.sight for watch in watches if watch.look() is not None]
    screen = render.open_screen(settings)
    screen.json({"runs": [sight.to_json() for sight in seen if sight is not None]})


def _open(settings: Settings, watches: "Sequence[RunWatch]") -> None:
    try:
        from telemetry.cli.watch.app import WatchApp  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "textual":
            raise
        raise UsageError(INSTALL) from error
    if not settings.color:
        os.environ["NO_COLOR"] = "1"  # textual asks for nothing else
    app = WatchApp(watches, has_colours=settings.color, has_unicode=render.knows_unicode())
    app.run()
    if app.failure is not None:
        raise app.failure
