"""Cross-validate configurations, and compare them with the one in use.

Each fold is a run. A comparison pairs the folds and accounts for their shared training data.

Examples:
  telemetry cv run --entry shop:train_and_score --params grid.toml --labels shop:labels
  telemetry cv compare latest
  telemetry cv compare 7f3a --metric accuracy --incumbent lr=0.1
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.cached_diagnosis import policy
from telemetry.cli.models import cv_run
from telemetry.cli.models.pages import HTML, check_page, write_page
from telemetry.cli.options import Settings, verb_group
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.compare.terms import Direction

if TYPE_CHECKING:
    from telemetry.evaluate.cross_validation.result import Compared, CrossValidation

GROUP = "Compare"
EXIT_UNDECIDED = 3
HALF = 8  # characters of an interval on each side of zero
STYLES = {"better": Style.GOOD, "worse": Style.ERROR, "inconclusive": Style.WARNING}

command = verb_group(__name__, __doc__)
command.part("run")(cv_run.run)


@command.part("compare")
@click.argument("cv_id", metavar="[CV_ID]", default="latest")
@cv_run.METRIC
@cv_run.GOAL
@click.option(
    "--incumbent",
    metavar="NAME=VALUE",
    help="Parameters of the configuration in use (default: the one scored first).",
)
@HTML
@click.pass_obj
def compare(
    settings: Settings,
    *,
    cv_id: str,
    metric: str | None,
    goal: str | None,
    incumbent: str | None,
    html: Path | None,
) -> int:
    """Show whether a configuration is better than the incumbent, and which one to use.

    Intervals are corrected for folds that share their training data (Nadeau and Bengio), p values
    for the number of configurations (Holm). A fold that diverged or failed is never left out.

    Examples:
      telemetry cv compare
      telemetry cv compare 7f3a --incumbent lr=0.1,depth=3 --json
    """
    from telemetry.evaluate.cross_validation import comparison as crossval  # noqa: PLC0415 - duckdb

    check_page(html)
    screen = open_screen(settings)
    found = crossval.compare(
        telemetry.Store.open(settings.store),
        cv_id,
        metric=metric,
        goal=cv_run.GOALS[goal] if goal else None,
        incumbent=incumbent,
        policy=policy(),
    )
    if html is not None:
        title = f"telemetry cv compare {found.cv_id}"
        write_page(html, title, "cv", [found.to_json()])
    if screen.wants_json:
        screen.json(found.to_json())
    else:
        show(screen, found)
        if html is not None:
            screen.verbatim(str(html), label="page")
    return 0 if found.is_decided else EXIT_UNDECIDED


def show(screen: Screen, found: "CrossValidation") -> None:
    """The answer, a line for each configuration, and what the numbers rest on."""
    goal = "lowest" if found.goal is Direction.LOWER else "highest"
    screen.paragraph(f"{found.answer}.")
    screen.blank()
    columns = (
        Column(header="CONFIGURATION", shrinks=True, least=16),
        Column(header=found.metric.upper(), align=Align.RIGHT),
        Column(header="FOLDS", align=Align.RIGHT, rank=3),
        Column(header="DIFFERENCE 95 %", align=Align.RIGHT, rank=1),
        Column(header="P", align=Align.RIGHT, rank=2),
        Column(header="VERDICT"),
        Column(header="", rank=4),
    )
    ends = [end for e in found.configurations for end in (e.ci_low, e.ci_high)]
    most = max((abs(end) for end in ends if math.isfinite(end)), default=0.0)
    rows = tuple((*_row(entry), _interval(entry, most)) for entry in found.configurations)
    screen.grid(Grid(columns=columns, rows=rows))
    screen.blank()
    for note in found.notes:
        screen.paragraph(note, indent=2, label="LOST")
    for entry in found.configurations:
        if entry.verdict == "inconclusive" and not entry.n_lost:  # lost folds are told above
            text = f"{entry.configuration.title}: {entry.reason}"
            screen.paragraph(text, indent=2, label="UNDECIDED")
    if found.has_holdout:
        screen.paragraph(_held_out(found), indent=2, label="HOLDOUT")
    if found.nested is not None:
        screen.paragraph(found.nested.answer, indent=2, label="NESTED")
    seen = [e.detectable for e in found.configurations if not math.isnan(e.detectable)]
    basis = f"{goal} {found.metric} over {found.n_folds} folds. The winner is selected on these "
    basis += "folds, so its score is optimistic"
    if not found.has_holdout and found.nested is None:
        basis += " (`cv run --holdout 0.2` or `--nested 3` gives an unbiased one)"
    if seen:
        basis += f"; differences of at least {numbers.number(max(seen))} would have been detected"
    screen.paragraph(basis, indent=2)


def _held_out(found: "CrossValidation") -> str:
    """What the winner scores on the examples that no fold has."""
    score, winner = found.holdout, found.winner
    if score is None or winner is None:
        return (
            "another configuration than the winner was scored on the holdout; see --metric of "
            "`cv run`"
        )
    examples = f"{plural(int(score.n_test), 'example')} outside all folds"
    if math.isnan(score.value):
        return f"{winner.title} {score.status}, trained on all folds for {examples}"
    return (
        f"{winner.title} has the {found.metric} {numbers.number(score.value)} on {examples}, "
        "trained on all others"
    )


def _interval(entry: "Compared", most: float) -> str:
    """The difference with its interval, in characters around a zero in the middle."""
    if not (most > 0 and math.isfinite(entry.ci_low) and math.isfinite(entry.ci_high)):
        return ""
    low, place, high = (
        round((1 + value / most) * HALF)
        for value in (entry.ci_low, entry.difference, entry.ci_high)
    )
    cells = ["-" if low <= at <= high else " " for at in range(2 * HALF + 1)]
    cells[HALF] = "|"
    cells[place] = "o"
    return "".join(cells)


def _row(entry: "Compared") -> tuple[Cell, ...]:
    interval = numbers.NOTHING
    if not math.isnan(entry.ci_low):
        interval = f"{entry.ci_low:+.3g} .. {entry.ci_high:+.3g}"
    lost = f", {entry.n_lost} lost" if entry.n_lost else ""
    return (
        entry.configuration.title,
        numbers.number(None if math.isnan(entry.mean_kept) else entry.mean_kept),
        f"{entry.n_folds}{lost}",
        interval,
        numbers.number(None if math.isnan(entry.p) else entry.p),
        Span(entry.verdict.replace("_", " "), STYLES.get(entry.verdict, Style.FAINT)),
    )
