"""Write the tables of a run into a folder, as Parquet, CSV or JSON.

Examples:
  telemetry export latest ./exported
  telemetry export 7f3a ./exported --format csv
  telemetry export demo/base ./exported --json
"""

from pathlib import Path

import click

import telemetry
from telemetry.cli import numbers
from telemetry.cli.grid import Span, Style
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.render import open_screen
from telemetry.cli.texts import plural

FORMATS = ("parquet", "csv", "json")


@verb(__name__, __doc__)
@click.argument("run", metavar="RUN", shell_complete=complete_runs)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--format",
    "format_",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="Of the files.",
)
@click.pass_obj
def command(settings: Settings, *, run: str, folder: Path, format_: str) -> None:
    """Export, then name what was written."""
    from telemetry.store.export import export_run  # noqa: PLC0415 - keeps --help fast

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    chosen = store.select(run)
    files = export_run(store, chosen, folder, format=format_)  # type: ignore[arg-type] # a choice
    if screen.wants_json:
        screen.json({"run": chosen.run, "files": [str(path) for path in files]})
        return
    for path in files:
        screen.line(str(path), numbers.size(path.stat().st_size))
    screen.note(Span(f"{plural(len(files), 'file')} of {chosen.name} {chosen.short}", Style.FAINT))
