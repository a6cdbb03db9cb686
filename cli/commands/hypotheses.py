"""Test which hypotheses about a model hold, and which ones a candidate breaks.

A hypothesis is a statement that a data set can refute. Hypotheses are kept in hypotheses.toml;
`telemetry slices --save-hypothesis` writes one.

Examples:
  telemetry hypotheses run latest --file hypotheses.toml
  telemetry hypotheses list --file hypotheses.toml
  telemetry hypotheses compare main latest
  telemetry hypotheses compare main latest --seeds seed-1,seed-2,seed-3
"""

import math
from pathlib import Path
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.models.hypotheses_run import DEFAULT_FILE, add_run
from telemetry.cli.options import Settings, complete_runs, verb_group
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style, counted
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.cli.screens import seed_advice
from telemetry.cli.screens.hypotheses import show_list
from telemetry.cli.screens.store_warnings import show_warnings

if TYPE_CHECKING:
    from telemetry.evaluate.hypothesis_testing.result import Comparison, Result

GROUP = "Compare"
EXIT_CODES = {"regression": 1, "inconclusive": 3}
STYLES = {
    "regression": Style.ERROR,
    "improvement": Style.GOOD,
    "no_change": Style.FAINT,
    "inconclusive": Style.WARNING,
}
MIN_SEEDS = 3
ADVISED_SEEDS = 6

command = verb_group(__name__, __doc__)
FILE = click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File with hypotheses, in addition to those stored with runs.",
)


@command.part("compare")
@click.argument("base", metavar="BASE", shell_complete=complete_runs)
@click.argument("candidate", metavar="CAND", shell_complete=complete_runs)
@click.option(
    "--seeds",
    metavar="RUN,RUN,RUN",
    help="Runs of the base's recipe with other seeds (default: found by their configuration).",
)
@FILE
@click.option(
    "--q", type=float, default=0.05, show_default=True, help="Allowed share of false discoveries."
)
@click.option("--mid-p", is_flag=True, help="Use the less strict mid-p value of McNemar's test.")
@click.option(
    "--no-seed-baseline",
    is_flag=True,
    help="Compare only these two checkpoints, not their recipes.",
)
@click.option("--no-store", is_flag=True, help="Do not save the result in the candidate's run.")
@click.pass_obj
def compare(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    *,
    base: str,
    candidate: str,
    seeds: str | None,
    file: Path | None,
    q: float,
    mid_p: bool,
    no_seed_baseline: bool,
    no_store: bool,
) -> int:
    """Compare a candidate with a base on every hypothesis, and fail if one is broken.

    Both must have been evaluated with `telemetry evaluate`. Two seeds of one recipe nearly always
    differ, so a change only counts when it is larger than chance and seed variation explain.

    Examples:
      telemetry hypotheses compare main latest
      telemetry hypotheses compare main latest --file hypotheses.toml --json
    """
    from telemetry.evaluate.hypothesis_testing import comparison as hypotheses  # noqa: PLC0415 - duckdb

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    found = hypotheses.compare(
        store,
        store.select(base),
        store.select(candidate),
        seeds=None if seeds is None else [store.select(s.strip()) for s in seeds.split(",")],
        hypotheses=hypotheses.load_hypotheses(file) if file else (),
        rules=hypotheses.Rules(q=q, mid_p=mid_p, needs_seeds=not no_seed_baseline),
    )
    if not no_store:
        hypotheses.keep(found)
    show_warnings(screen, found.warnings)
    if screen.wants_json:
        screen.json(found.to_json())
    else:
        show_comparison(screen, found, is_alone=no_seed_baseline, file=file)
    return EXIT_CODES.get(found.verdict, 0)


@command.part("list")
@click.option(
    "--file",
    type=click.Path(path_type=Path, dir_okay=False),
    help=(
        f"File with hypotheses, in addition to those stored with runs (default {DEFAULT_FILE} "
        "if it exists)."
    ),
)
@click.pass_obj
def list_(settings: Settings, *, file: Path | None) -> None:
    """List the hypotheses, the result of the newest run for each, and its last comparison.

    Examples:
      telemetry hypotheses list
      telemetry hypotheses list --file hypotheses.toml --json
    """
    from telemetry.evaluate.hypothesis_testing import comparison as hypotheses  # noqa: PLC0415 - duckdb

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    read = file or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    known = hypotheses.load_hypotheses(read) if read else ()
    listed = hypotheses.list_hypotheses(store, store.runs(), known)
    if screen.wants_json:
        entries = [entry.to_json() for entry in listed]
        screen.json({"verb": "hypotheses.list", "hypotheses": entries})
    else:
        show_list(screen, listed)


def show_comparison(
    screen: Screen, found: "Comparison", *, is_alone: bool, file: Path | None = None
) -> None:
    """The answer, a line for each hypothesis, and what would decide the rest."""
    style = STYLES[found.verdict]
    screen.line(Span(found.verdict.replace("_", " ").upper(), style), found.answer)
    screen.blank()
    are_mixed = {result.metric for result in found.results} != {"accuracy"}
    columns = (
        Column(header="HYPOTHESIS", shrinks=True, least=12),
        *((Column(header="METRIC"),) if are_mixed else ()),
        Column(header="N", align=Align.RIGHT),
        Column(header="BASE", align=Align.RIGHT),
        Column(header="CAND", align=Align.RIGHT),
        Column(header="CHANGE 95 %", align=Align.RIGHT, rank=2),
        Column(header="Q", align=Align.RIGHT, rank=4),
        Column(header="DETECTABLE", align=Align.RIGHT, rank=3 if are_mixed else 1),
        Column(header="VERDICT"),
    )
    rows = tuple(_row(result, with_metric=are_mixed) for result in found.results)
    screen.grid(Grid(columns=columns, rows=rows))
    screen.blank()
    for reason, names in _doubts(found).items():
        screen.paragraph(f"{reason} ({', '.join(names)})", indent=2, label="UNDECIDED")
    if is_alone:
        basis = "only these two checkpoints are compared, so no seeds are needed"
    else:
        basis = f"{plural(len(found.seeds), 'seed run')} of the base's recipe"
        if len(found.seeds) < ADVISED_SEEDS:
            basis += f"; {ADVISED_SEEDS} would detect smaller changes"
    screen.paragraph(f"{basis}, q {found.q:g}", indent=2)
    if not is_alone and len(found.seeds) < MIN_SEEDS:
        _say_how_to_get_seeds(screen, found, file)


def _say_how_to_get_seeds(screen: Screen, found: "Comparison", file: Path | None) -> None:
    """The commands that would supply a seed baseline, or do without."""
    lacking = MIN_SEEDS - len(found.seeds)
    screen.paragraph(
        f"{plural(lacking, 'more seed run')} of {found.base.name} would decide "
        f"({ADVISED_SEEDS - len(found.seeds)} recommended); for each:",
        indent=2,
        label="NEXT",
    )
    for line in seed_advice.commands(found, None if file is None else str(file)):
        screen.verbatim(line, indent=4)
    screen.paragraph("or use --no-seed-baseline to compare only these two checkpoints.", indent=12)


def _row(result: "Result", *, with_metric: bool) -> tuple[Cell, ...]:
    return (
        result.title,
        *((result.metric,) if with_metric else ()),
        counted(result.n),
        _value(result.base_value, result.metric),
        _value(result.cand_value, result.metric),
        _interval(result),
        numbers.number(result.q_value),
        _value(result.detectable_drop, result.metric),
        Span(result.verdict.replace("_", " "), STYLES[result.verdict]),
    )


def _value(value: float, metric: str) -> str:
    if math.isnan(value):
        return numbers.NOTHING
    return f"{100 * value:.1f} %" if metric == "accuracy" else numbers.number(value)


def _interval(result: "Result") -> str:
    low, high = result.ci_low, result.ci_high
    if math.isnan(low):
        return numbers.NOTHING
    if result.metric != "accuracy":
        return f"{low:+.3g} .. {high:+.3g}"
    return f"{100 * low:+.1f} .. {100 * high:+.1f} %"


def _doubts(found: "Comparison") -> dict[str, list[str]]:
    """Names of undecided hypotheses by the reason."""
    reasons: dict[str, list[str]] = {}
    for result in found.results:
        if result.verdict == "inconclusive":
            reasons.setdefault(result.reason, []).append(result.title)
    return reasons


add_run(command)
