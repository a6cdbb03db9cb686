"""Draw the loss and metrics of runs, one over the other; in the terminal or as a file.

Examples:
  telemetry plot latest
  telemetry plot base wide --metric val_loss
  telemetry plot tag=lr-search --metric loss --raw
  telemetry plot latest~1 latest -o curves.svg
  telemetry plot latest --metric grad_norm -o page.html
"""

from pathlib import Path

import click

import telemetry
from telemetry.cli.options import Settings, complete_runs, markdown_option, verb
from telemetry.cli.output.grid import Span, Style
from telemetry.cli.output.render import open_screen
from telemetry.cli.screens.store_warnings import show_warnings

GROUP = "Look"


@verb(__name__, __doc__)
@click.argument("selectors", metavar="[RUN]...", shell_complete=complete_runs, nargs=-1)
@click.option(
    "--metric",
    "metrics",
    metavar="NAME",
    multiple=True,
    help="Draw this metric; also grad_norm, lr and step_s (default: the loss and what was "
    "evaluated).",
)
@click.option("--raw", is_flag=True, help="Draw every value as it was recorded, not smoothed.")
@click.option(
    "--output",
    "-o",
    metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a picture instead: FILE.svg, FILE.html or FILE.png.",
)
@markdown_option
@click.pass_obj
def command(
    settings: Settings,
    *,
    selectors: tuple[str, ...],
    metrics: tuple[str, ...],
    raw: bool,
    output: Path | None,
) -> None:
    """Choose the runs, read their curves, draw them."""
    from telemetry.cli.screens import plot as plot_screen  # noqa: PLC0415 - keeps --help fast
    from telemetry.compare.plot.files import write_plot  # noqa: PLC0415 - as above
    from telemetry.store.runs.select import select_groups  # noqa: PLC0415 - as above

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    runs = select_groups(store.runs(), selectors or ("latest",))
    plot = telemetry.plot_runs(store, runs, metrics=metrics or None, smooth=not raw)
    show_warnings(screen, plot.warnings)
    if output is not None:
        n_bytes = write_plot(plot, output)
        if not screen.wants_json:
            screen.note(Span(f"{output}: {n_bytes} bytes", Style.FAINT))
            return
    if screen.wants_json:
        screen.json(plot.to_json())
    else:
        plot_screen.show(screen, plot)
