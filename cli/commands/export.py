"""Write the tables of a run to a folder, or runs to a small baseline file to keep in git.

Examples:
  telemetry export latest ./exported
  telemetry export 7f3a ./exported --format csv
  telemetry export demo/base ./exported --json
  telemetry export tag=main --baseline baseline.json
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.cached_diagnosis import policy
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Span, Style
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.errors import UsageError

if TYPE_CHECKING:
    from telemetry.store.runs.run import Run

GROUP = "Data"
FORMATS = ("parquet", "csv", "json")


@verb(__name__, __doc__)
@click.argument("words", metavar="RUN... [DIR]", shell_complete=complete_runs, nargs=-1)
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), help="File format (default parquet)."
)
@click.option(
    "--baseline",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a baseline of one run or a group, for `diff --baseline-file`.",
)
@click.option(
    "--metric",
    "metrics",
    metavar="NAME",
    multiple=True,
    help="Metric to add to a baseline (the loss and all evaluated metrics are included).",
)
@click.pass_obj
def command(
    settings: Settings,
    *,
    words: tuple[str, ...],
    format_: str | None,
    baseline: Path | None,
    metrics: tuple[str, ...],
) -> None:
    """Export, then name what was written."""
    screen = open_screen(settings)
    if baseline is not None:
        if format_ is not None:
            raise UsageError(
                "a baseline is always JSON; --format is only for exports into a folder."
            )
        _export_baseline(screen, settings, words, baseline, metrics)
        return
    if metrics:
        raise UsageError(
            "--metric is only for --baseline; an export into a folder has every metric."
        )
    if len(words) != 2:  # noqa: PLR2004 - run and folder
        raise UsageError(
            "export needs a run and a folder: `telemetry export RUN DIR`, or "
            "`telemetry export RUN... --baseline FILE`."
        )
    _export_tables(screen, settings, words[0], Path(words[1]), format_ or FORMATS[0])


def _export_tables(
    screen: Screen, settings: Settings, selector: str, folder: Path, format_: str
) -> None:
    from telemetry.store.export import export_run  # noqa: PLC0415 - keeps --help fast

    store = telemetry.Store.open(settings.store)
    run = store.select(selector)
    files = export_run(store, run, folder, format=format_)  # type: ignore[arg-type] # a choice
    if screen.wants_json:
        screen.json({"run": run.run, "files": [str(path) for path in files]})
        return
    for path in files:
        screen.line(str(path), numbers.size(path.stat().st_size))
    screen.note(Span(f"{plural(len(files), 'file')} of {run.name} {run.short}", Style.FAINT))


def _export_baseline(
    screen: Screen,
    settings: Settings,
    selectors: Sequence[str],
    path: Path,
    metrics: Sequence[str],
) -> None:
    store = telemetry.Store.open(settings.store)
    runs = _chosen(store, selectors)
    n_bytes = telemetry.write_baseline(store, runs, path, metrics=metrics, policy=policy())
    if screen.wants_json:
        screen.json({"runs": [run.run for run in runs], "baseline": str(path)})
        return
    screen.line(str(path), numbers.size(n_bytes))
    names = ", ".join(f"{run.name} {run.short}" for run in runs)
    screen.note(Span(f"{plural(len(runs), 'run')}: {names}", Style.FAINT))


def _chosen(store: telemetry.Store, selectors: Sequence[str]) -> "list[Run]":
    from telemetry.store.runs.select import select_group  # noqa: PLC0415 - keeps --help fast

    known = store.runs()
    found = [run for selector in selectors for run in select_group(known, selector)]
    return list({run.ref.path: run for run in found}.values())
