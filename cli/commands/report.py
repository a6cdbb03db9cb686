"""Write a page about runs: curves, findings, layers over the steps, weights, and how they compare.

The page is one file that needs no network, and can be read and printed without JavaScript. Two
runs or groups are compared as base and candidate; three runs and more are looked at as a sweep.

Examples:
  telemetry report latest -o report.html
  telemetry report base candidate -o report.html
  telemetry report tag=main tag=pr-12 -o report.html
  telemetry report "lr-search/*" -o sweep.html
  telemetry report latest --json
"""

from pathlib import Path

import click

import telemetry
from telemetry.cli.cached_diagnosis import policy
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output.grid import Span, Style
from telemetry.cli.output.render import open_screen
from telemetry.cli.screens.store_warnings import show_warnings
from telemetry.errors import StoreUnreadable, UsageError

GROUP = "Look"
ENDINGS = (".html", ".htm")


@verb(__name__, __doc__)
@click.argument("selectors", metavar="[RUN]...", shell_complete=complete_runs, nargs=-1)
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Where to write the page, such as report.html; a page that is there is replaced.",
)
@click.option(
    "--metric",
    "metrics",
    metavar="NAME",
    multiple=True,
    help="Draw this metric (default: the loss and what was evaluated).",
)
@click.pass_obj
def command(
    settings: Settings,
    *,
    selectors: tuple[str, ...],
    output: Path | None,
    metrics: tuple[str, ...],
) -> None:
    """Choose the runs, read everything of them, write the page."""
    from telemetry.store.runs.select import select_group  # noqa: PLC0415 - keeps --help fast

    _check(output, settings)
    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    known = store.runs()
    sides = [select_group(known, selector) for selector in selectors or ("latest",)]
    report = telemetry.report_runs(store, sides, metrics=metrics or None, policy=policy())
    show_warnings(screen, report.warnings)
    if output is not None:
        from telemetry.cli.report.page import report_page  # noqa: PLC0415 - as above

        n_bytes = _write(output, report_page(report, settings).encode())
        if not screen.wants_json:
            screen.note(Span(f"{output}: {n_bytes} bytes", Style.FAINT))
    if screen.wants_json:
        screen.json(report.to_json())


def _check(output: Path | None, settings: Settings) -> None:
    """Refuse a page that cannot be written before anything is read for it."""
    if output is None:
        if not settings.output_json:
            raise UsageError("report writes a page; say where, as with `-o report.html`.")
    elif output.suffix.lower() not in ENDINGS:
        raise UsageError(f"{output}: a report is a page; let its name end in .html.")
    elif not output.parent.is_dir():
        raise UsageError(f"{output.parent} is not a folder; create it, or name another file.")


def _write(path: Path, content: bytes) -> int:
    from telemetry.format.runs import publish_bytes  # noqa: PLC0415 - keeps --help fast

    try:
        publish_bytes(path, content)
    except OSError as error:
        raise StoreUnreadable(f"{path} cannot be written: {error.strerror}.") from error
    return len(content)
