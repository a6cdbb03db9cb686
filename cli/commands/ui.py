"""Look at all runs in a browser: a list with filters, each run, and runs beside each other.

The pages are those of `telemetry report` and follow a run while it is recorded. The server is for
this machine alone, needs the token in its address, and only reads. Ctrl-C ends it.

Examples:
  telemetry ui
  telemetry ui --store ./runs
  telemetry ui --port 8230 --no-open
"""

import os
import sys
import webbrowser
from contextlib import suppress

import click

import telemetry
from telemetry.cli.options import Settings, verb
from telemetry.cli.output.grid import Span, Style
from telemetry.cli.output.render import Screen, is_terminal, open_screen
from telemetry.cli.output.texts import plural
from telemetry.errors import UsageError

GROUP = "Look"
INSTALL = (
    "`telemetry ui` needs starlette and uvicorn, which are not installed; install them with "
    "`pip install 'training-telemetry[ui]'`, or write a page with `telemetry report -o FILE.html`."
)
PACKAGES = frozenset({"starlette", "uvicorn", "anyio", "h11"})  # what the extra brings


@verb(__name__, __doc__)
@click.option(
    "--port",
    metavar="N",
    default=0,
    type=click.IntRange(0, 65535),
    help="Listen on this port of 127.0.0.1 (default: one that is free).",
)
@click.option("--no-open", is_flag=True, help="Print the address, and open no browser.")
@click.pass_obj
def command(settings: Settings, *, port: int, no_open: bool) -> None:
    """Say where the pages are, and serve them."""
    try:
        from telemetry.cli.ui.access import Keys  # noqa: PLC0415 - keeps --help fast
        from telemetry.cli.ui.server import HOST, Pages, listening, serve  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        raise UsageError(INSTALL) from error
    screen = open_screen(settings)
    store = telemetry.Store.expected(settings.store)
    n_runs = store.newest_runs(1).total
    keys = Keys()
    with listening(port) as place:
        port = place.getsockname()[1]
        address = f"http://{HOST}:{port}/?token="
        if screen.wants_json:
            screen.json({"url": address + keys.token, "port": port, "store": str(store.path)})
        else:
            screen.note(Span(str(settings.store), Style.STRONG), plural(n_runs, "run"))
            screen.verbatim(address + keys.token)
            _explain(screen, port)
        sys.stdout.flush()
        if not no_open and is_terminal() and _has_windows():
            with suppress(webbrowser.Error):
                webbrowser.open(address + keys.ticket())
        serve(Pages(settings), keys, place)


def _explain(screen: Screen, port: int) -> None:
    screen.note(Span("for this machine alone, read-only; Ctrl-C ends it", Style.FAINT))
    if "SSH_CONNECTION" in os.environ:
        screen.note(
            Span(f"from yours: ssh -L {port}:127.0.0.1:{port} HOST, then that address", Style.FAINT)
        )


def _has_windows() -> bool:
    """Whether a browser has a window of its own; one of characters would fill the terminal."""
    if "SSH_CONNECTION" in os.environ:
        return False
    has_display = "DISPLAY" in os.environ or "WAYLAND_DISPLAY" in os.environ
    return sys.platform in {"darwin", "win32"} or has_display
