"""Show which examples a run learned late, forgot, or still gets wrong with confidence.

It reads what `TelemetryCallback.log_examples` and `telemetry evaluate` stored at several steps.

Examples:
  telemetry hard-examples latest
  telemetry hard-examples 7f3a --dataset valid
  telemetry hard-examples latest --json
"""

from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.evaluate.stored.history import Fate, History

GROUP = "Explain"
FORMER_NAMES = ("examples",)
SHOWN = 5  # of a terminal; a pipe gets all
NO_STEPS = (
    'To see what was learned late or forgotten, save the step in checkpoints, as in {"step": '
    '100, "model": model.state_dict()}, and evaluate them with --every-checkpoint.'
)


@verb(__name__, __doc__)
@click.argument("run", metavar="[RUN]", shell_complete=complete_runs, default="latest")
@click.option("--dataset", metavar="NAME", help="Use this data set if several were evaluated.")
@click.pass_obj
def command(settings: Settings, *, run: str, dataset: str | None) -> None:
    """Read the history of every example, and show those that stand out."""
    from telemetry.evaluate.stored.history import read_history  # noqa: PLC0415 - duckdb

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    history = read_history(store, store.select(run), dataset=dataset)
    if screen.wants_json:
        screen.json(history.to_json())
    else:
        show(screen, history)


def show(screen: Screen, history: "History") -> None:
    """The answer in a sentence, then a table for each kind."""
    n_steps = len(history.steps)
    wrong = f"{len(history.never)} wrong"
    sure = f"{len(history.surely_wrong)} of them with at least 90 % confidence"
    what = f"{plural(len(history.fates), 'example')} of {history.dataset}"
    if n_steps:
        screen.paragraph(
            f"{what} over {plural(n_steps, 'evaluation')}: {wrong} at the end, {sure}; "
            f"{len(history.forgotten)} were forgotten at least once."
        )
    else:
        screen.paragraph(f"{what}: {wrong}, {sure}.")
    kinds = (
        ("WRONG WITH CONFIDENCE", history.surely_wrong),
        ("FORGOTTEN", history.forgotten),
        ("LEARNED LATE", history.late if n_steps > 1 else []),
    )
    for title, fates in kinds:
        if fates:
            screen.blank()
            screen.line(Span(title, Style.STRONG))
            shown = fates[:SHOWN] if screen.for_people else fates
            screen.grid(_grid(shown, has_steps=n_steps > 0))
            if screen.for_people and len(fates) > SHOWN:
                screen.note(Span(f"  {len(fates) - SHOWN} more with --json", Style.FAINT))
    if not n_steps:
        screen.blank()
        screen.paragraph(NO_STEPS, indent=2)


def _grid(fates: "Sequence[Fate]", *, has_steps: bool) -> Grid:
    columns: tuple[Column, ...] = (
        Column(header="EXAMPLE", shrinks=True),
        Column(header="LABEL", shrinks=True),
        Column(header="ANSWER", shrinks=True),
        Column(header="CONFIDENCE", align=Align.RIGHT),
        Column(header="LOSS", align=Align.RIGHT, rank=1),
        Column(header="LEARNED AT", align=Align.RIGHT),
        Column(header="FORGOTTEN", align=Align.RIGHT),
    )
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            fate.example_id,
            fate.label,
            Span(fate.prediction, Style.PLAIN if fate.correct else Style.ERROR),
            numbers.number(fate.confidence),
            numbers.number(fate.loss),
            numbers.NOTHING if fate.learned is None else numbers.count(fate.learned),
            numbers.count(fate.n_forgotten),
        )
        for fate in fates
    )
    if not has_steps:
        columns, rows = columns[:-2], tuple(row[:-2] for row in rows)
    return Grid(columns=columns, rows=rows)
