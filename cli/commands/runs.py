"""List the runs of a store, newest first.

Examples:
  telemetry runs
  telemetry runs --project demo --status failed
  telemetry runs --tag main --since 2d --sort val_loss
  telemetry runs --where "steps > 1000 and n_error > 0" --all
  telemetry runs --json
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

import click

import telemetry
from telemetry.cli.cached_diagnosis import options_in_force
from telemetry.cli.options import Settings, verb
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style, counted
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.cli.screens import findings as finding_lines
from telemetry.cli.screens.run_lines import STATUS_STYLES
from telemetry.cli.screens.store_warnings import show_warnings
from telemetry.cli.sorting import COLUMNS, sorted_runs
from telemetry.format.manifest import (
    HEARTBEAT_INTERVAL_S,
    STALE_AFTER_INTERVALS,
    Status,
    heartbeat_age_s,
)
from telemetry.format.smoothing import SMOOTHED_FROM
from telemetry.json_values import Json
from telemetry.store.catalog import Run

DEFAULT_LIMIT = 20
LOSS = "loss"
Trends = Mapping[str, Sequence[float | None]]
Counts = Callable[[Run], Mapping[str, Json] | None]


@verb(__name__, __doc__)
@click.option(
    "--project", metavar="NAME", help="Show only runs of this project or pattern, such as 'lm-*'."
)
@click.option("--tag", "tags", metavar="TAG", multiple=True, help="Show only runs with this tag.")
@click.option(
    "--status",
    type=click.Choice([s.value for s in Status]),
    help="Show only runs with this status.",
)
@click.option("--since", metavar="AGE", help="Show only runs started since 12h, 2d or 2026-01-31.")
@click.option(
    "--where", metavar="SQL", help="Show only runs that meet this SQL condition on the view runs."
)
@click.option(
    "--sort", metavar="COLUMN", help="Sort by started, name, steps, a metric or a setting."
)
@click.option(
    "--limit",
    metavar="N",
    default=DEFAULT_LIMIT,
    type=click.IntRange(1),
    show_default=True,
    help="Show at most N runs.",
)
@click.option("--all", "show_all", is_flag=True, help="Show all runs.")
@click.pass_obj
def command(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    *,
    project: str | None,
    tags: tuple[str, ...],
    status: str | None,
    since: str | None,
    where: str | None,
    sort: str | None,
    limit: int,
    show_all: bool,
) -> None:
    """Filter, sort, and show what is left."""
    from telemetry.store.select import filter_runs  # noqa: PLC0415 - keeps --help fast

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    found = filter_runs(
        store.runs(), project=project, tags=tags, status=status, since=since, now=now()
    )
    if where is not None:
        found = _where(store, found, where)
    if sort is not None and sort not in COLUMNS:
        found = store.with_metrics(found)
    found = sorted_runs(found, sort)
    shown = store.with_metrics(found if show_all else found[:limit])
    for run in shown:
        if run.manifest is None:
            screen.warn(run.reason)
    if screen.wants_json:
        screen.json({"runs": [run.to_json() for run in shown], "total": len(found)})
        return
    trends = _trends(store, shown, screen)
    screen.note(*_title(settings, found))
    counts = _counts_in_force()
    screen.grid(_grid(screen, shown, trends, counts, sort), indent=0)
    _footer(screen, shown, counts, n_more=len(found) - len(shown))


def now() -> datetime:
    """The moment that ages count from."""
    return datetime.now(UTC)


def _where(store: "telemetry.Store", runs: Sequence[Run], condition: str) -> list[Run]:
    # The condition is the user's own SQL and runs on the locked connection of `query`.
    statement = "SELECT project, run FROM runs WHERE (" + condition + "\n)"  # noqa: S608 - see above
    result = telemetry.query_runs(store, statement, runs=runs)
    wanted = {(row["project"], row["run"]) for row in result.arrow.to_pylist()}
    return [run for run in runs if (run.ref.project, run.run) in wanted]


def _trends(store: "telemetry.Store", runs: Sequence[Run], screen: Screen) -> Trends:
    """The curves of the loss by run id: from the manifests, and where they lack it from tables."""
    known = {run.run: run.loss_trend for run in runs if run.loss_trend is not None}
    lacking = [run for run in runs if run.manifest is not None and run.run not in known]
    if not lacking:
        return known
    # Loads DuckDB and pyarrow, which takes longer than all the rest.
    from telemetry.store.summaries import loss_trends  # noqa: PLC0415

    with store.session(lacking) as session:
        trends = loss_trends(session)
        show_warnings(screen, session.warnings)
    return {**trends, **known}


def _title(settings: Settings, runs: Sequence[Run]) -> tuple[Cell, ...]:
    projects = sorted({run.project for run in runs})
    name = projects[0] if len(projects) == 1 else plural(len(projects), "project")
    return Span(name, Style.STRONG), str(settings.store), plural(len(runs), "run")


def _counts_in_force() -> Counts:
    """Counts of the findings of a run, None where it was judged by other settings or not at all."""
    options = options_in_force()

    def counts(run: Run) -> Mapping[str, Json] | None:
        return run.finding_counts if run.findings_options in {None, options} else None

    return counts


def _grid(
    screen: Screen, runs: Sequence[Run], trends: Trends, counts: Counts, sort: str | None
) -> Grid:
    several = len({run.project for run in runs}) > 1 or not screen.for_people
    metric = evaluated_metric(runs)
    # What the runs are sorted by is shown, however narrow the terminal.
    added = None if sort is None or sort in {*COLUMNS, LOSS, metric} else sort
    columns = (
        Column(header="RUN"),
        *([Column(header="PROJECT", shrinks=True, rank=3)] if several else []),
        Column(header="NAME", shrinks=True),
        Column(header="STATUS"),
        Column(header="STEPS", align=Align.RIGHT),
        Column(header="AGE", align=Align.RIGHT, rank=0 if sort == "started" else 5),
        Column(header="LOSS", align=Align.RIGHT),
        Column(header="trend", rank=1),
        *([_numbers(metric, rank=0 if sort == metric else 4)] if metric else []),
        *([_numbers(added, rank=0)] if added else []),
        Column(header="FINDINGS"),
    )
    moment = now()
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (
            run.short,
            *([run.project] if several else []),
            run.name,
            _status(run, moment),
            counted(run.steps),
            _age(run, moment),
            numbers.number(last_value(run, LOSS)),
            screen.trend(trends.get(run.run, ())),
            *([numbers.number(last_value(run, metric))] if metric else []),
            *([_sorted_by(run, added)] if added else []),
            finding_lines.tally(counts(run)),
        )
        for run in runs
    )
    return Grid(columns=columns, rows=rows)


def _numbers(name: str, *, rank: int) -> Column:
    return Column(header=name.upper(), align=Align.RIGHT, rank=rank, shrinks=True, least=8)


def _sorted_by(run: Run, name: str) -> str:
    """A metric of a run, else a setting of its configuration."""
    if name in run.metrics:
        return numbers.number(last_value(run, name))
    return numbers.literal(run.config.get(name))


def evaluated_metric(runs: Sequence[Run]) -> str:
    """The metric besides the loss that says most about these runs; '' when there is none."""
    from telemetry.compare.curves.metric_names import by_importance  # noqa: PLC0415 - keeps --help fast

    names = by_importance(name for run in runs for name in run.metrics)
    best = next((name for name in names if not name.startswith("lr/")), LOSS)
    return "" if best == LOSS else best


def last_value(run: Run, metric: str) -> float | None:
    """The last recorded value of a metric as the manifest has it."""
    entry = run.metrics.get(metric)
    value = entry.get("last") if isinstance(entry, Mapping) else None
    try:
        return None if value is None else float(str(value))
    except ValueError:
        return None


def _status(run: Run, moment: datetime) -> Span:
    style = STATUS_STYLES[run.status]
    if run.status is Status.RUNNING and run.manifest is not None:
        age_s = heartbeat_age_s(run.manifest, now=moment)
        if age_s > STALE_AFTER_INTERVALS * HEARTBEAT_INTERVAL_S:
            return Span(f"stale {numbers.age(age_s)}", Style.WARNING)
    return Span(run.status, style)


def _age(run: Run, moment: datetime) -> str:
    try:
        return numbers.age((moment - datetime.fromisoformat(run.started)).total_seconds())
    except (ValueError, TypeError):
        return numbers.NOTHING


def _footer(screen: Screen, runs: Sequence[Run], counts: Counts, *, n_more: int) -> None:
    notes = []
    if any(run.steps >= SMOOTHED_FROM and LOSS in run.metrics for run in runs):
        notes.append("LOSS: mean over the last tenth of the steps")
    if n_more:
        notes.append(f"{n_more} more, use --all")
    if any(run.status is Status.KILLED for run in runs):
        notes.append("killed: the process ended without an end record")
    if any(counts(run) is None for run in runs):
        notes.append("?: not diagnosed yet (telemetry diagnose RUN)")
    if notes:
        screen.note(Span("; ".join(notes), Style.FAINT))
    if not runs:
        screen.note("no run matches these filters")
