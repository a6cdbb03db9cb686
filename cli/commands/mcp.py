"""Let agents ask: a server of the Model Context Protocol on stdin and stdout.

An agent gets the tools list_runs, diagnose, details, layers, query, diff and sweep. Each runs a
command, such as `telemetry runs`, and answers with what it prints with --json.

Examples:
  telemetry mcp
  telemetry mcp --store ./runs
"""

import signal
import sys

import click

from telemetry.cli.options import Settings, verb
from telemetry.cli.output.render import open_screen
from telemetry.errors import UsageError
from telemetry.format.runs import local_folder

GROUP = "Data"
INSTALL = (
    "`telemetry mcp` needs the MCP SDK, which is not installed; install it with "
    "`pip install 'training-telemetry[mcp]'`."
)
PACKAGES = frozenset({"mcp", "mcp_types", "anyio", "jsonschema"})  # what the extra brings


@verb(__name__, __doc__)
@click.pass_obj
def command(settings: Settings) -> None:
    """Serve until the agent ends the connection."""
    try:
        import anyio  # noqa: PLC0415 - an extra

        from telemetry.cli.agents.server import serve  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in PACKAGES:
            raise
        raise UsageError(INSTALL) from error
    if sys.stdin.isatty():
        open_screen(settings).tell(
            "this waits for an agent that speaks the Model Context Protocol; register the command "
            "`telemetry mcp` with yours. Ctrl-C ends it."
        )
    # The thread that waits for stdin cannot be interrupted, so Ctrl-C ends the process.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    anyio.run(serve, _common(settings))


def _common(settings: Settings) -> list[str]:
    """The store, if one was chosen; else each call finds it as a terminal would."""
    if settings.given_store is None:
        return []
    return [f"--store={local_folder(settings.given_store).absolute()}"]
