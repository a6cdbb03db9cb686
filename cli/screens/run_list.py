"""A list of runs: a line each, with the curve of its loss and the counts of its findings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style, counted
from telemetry.cli.output.render import Screen
from telemetry.cli.screens import findings as finding_lines
from telemetry.cli.screens.run_lines import STATUS_STYLES
from telemetry.cli.screens.store_warnings import show_warnings
from telemetry.format.manifest import (
    HEARTBEAT_INTERVAL_S,
    STALE_AFTER_INTERVALS,
    Status,
    heartbeat_age_s,
)
from telemetry.format.smoothing import SMOOTHED_FROM
from telemetry.json_values import Json
from telemetry.store.runs.run import Run

if TYPE_CHECKING:
    from telemetry.store.store import Store

LOSS = "loss"
STARTED = "started"
Trends = Mapping[str, Sequence[float | None]]
Counts = Callable[[Run], Mapping[str, Json] | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunList:
    """Runs as they are shown.

    Attributes:
        runs: With their metrics, in the order of the lines.
        trends: Curves of the loss by run id.
        counts: Counts of the findings of a run, None where it was not diagnosed.
        sort: What they are sorted by, None where by their start.
        added: A metric or setting that has a column of its own.
    """

    runs: Sequence[Run]
    trends: Trends
    counts: Counts
    sort: str | None = None
    added: str | None = None


def show_runs(screen: Screen, listed: RunList, *, n_more: int) -> None:
    """The table, and below it what is not plain; `n_more` runs are left out."""
    screen.grid(_grid(screen, listed), indent=0)
    _footer(screen, listed, n_more=n_more)


def now() -> datetime:
    """The moment that ages count from."""
    return datetime.now(UTC)


def loss_trends(screen: Screen, store: "Store", runs: Sequence[Run]) -> Trends:
    """The curves of the loss by run id: from the manifests, and where they lack it from tables."""
    known = {run.run: run.loss_trend for run in runs if run.loss_trend is not None}
    lacking = [run for run in runs if run.manifest is not None and run.run not in known]
    if not lacking:
        return known
    # Loads DuckDB and pyarrow, which takes longer than all the rest.
    from telemetry.store.summaries.summaries import loss_trends as read_trends  # noqa: PLC0415

    with store.session(lacking) as session:
        trends = read_trends(session)
        show_warnings(screen, session.warnings)
    return {**trends, **known}


def _grid(screen: Screen, listed: RunList) -> Grid:
    runs, sort = listed.runs, listed.sort
    several = len({run.project for run in runs}) > 1 or not screen.for_people
    metric = evaluated_metric(runs)
    added = None if listed.added in {LOSS, metric} else listed.added
    columns = (
        Column(header="RUN"),
        *([Column(header="PROJECT", shrinks=True, rank=3)] if several else []),
        Column(header="NAME", shrinks=True),
        Column(header="STATUS"),
        Column(header="STEPS", align=Align.RIGHT),
        Column(header="AGE", align=Align.RIGHT, rank=0 if sort == STARTED else 5),
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
            numbers.number(run.last_value(LOSS)),
            screen.trend(listed.trends.get(run.run, ())),
            *([numbers.number(run.last_value(metric))] if metric else []),
            *([_sorted_by(run, added)] if added else []),
            finding_lines.tally(listed.counts(run)),
        )
        for run in runs
    )
    return Grid(columns=columns, rows=rows)


def _numbers(name: str, *, rank: int) -> Column:
    return Column(header=name.upper(), align=Align.RIGHT, rank=rank, shrinks=True, least=8)


def _sorted_by(run: Run, name: str) -> str:
    """A metric of a run, else a setting of its configuration."""
    if name in run.metrics:
        return numbers.number(run.last_value(name))
    return numbers.literal(run.config.get(name))


def evaluated_metric(runs: Sequence[Run]) -> str:
    """The metric besides the loss that says most about these runs; '' when there is none."""
    from telemetry.compare.curves.metric_names import by_importance  # noqa: PLC0415 - keeps --help fast

    names = by_importance(name for run in runs for name in run.metrics)
    best = next((name for name in names if not name.startswith("lr/")), LOSS)
    return "" if best == LOSS else best


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


def _footer(screen: Screen, listed: RunList, *, n_more: int) -> None:
    notes, runs = [], listed.runs
    if any(run.steps >= SMOOTHED_FROM and LOSS in run.metrics for run in runs):
        notes.append("LOSS: mean over the last tenth of the steps")
    if n_more:
        notes.append(f"{n_more} more, use --all")
    if any(run.status is Status.KILLED for run in runs):
        notes.append("killed: the process ended without an end record")
    if any(listed.counts(run) is None for run in runs):
        notes.append("?: not diagnosed yet (telemetry diagnose RUN)")
    if notes:
        screen.note(Span("; ".join(notes), Style.FAINT))
    if not runs:
        screen.note("no run matches these filters")
