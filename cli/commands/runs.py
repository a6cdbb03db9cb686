"""List the runs of a store, newest first.

Examples:
  telemetry runs
  telemetry runs --project demo --status failed
  telemetry runs --tag main --since 2d --sort val_loss
  telemetry runs --where "val_loss < 0.1 and learning_rate > 0.001" --all
  telemetry runs --json
"""

from collections.abc import Sequence

import click

import telemetry
from telemetry.cli.cached_diagnosis import counts_in_force
from telemetry.cli.options import Settings, verb
from telemetry.cli.output.grid import Cell, Span, Style
from telemetry.cli.output.render import open_screen
from telemetry.cli.output.texts import plural
from telemetry.cli.screens import run_list
from telemetry.cli.screens.run_list import RunList, loss_trends, show_runs
from telemetry.cli.sorting import COLUMNS, sorted_runs
from telemetry.format.manifest import Status
from telemetry.store.runs.catalog import NewestRuns
from telemetry.store.runs.run import Run

GROUP = "Look"
DEFAULT_LIMIT = 20


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
    "--where",
    metavar="SQL",
    help="Show only runs that meet this SQL condition on the view runs, which has metrics and "
    "settings as columns.",
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
    from telemetry.store.runs.select import filter_runs  # noqa: PLC0415 - keeps --help fast

    screen = open_screen(settings)
    store = telemetry.Store.open(settings.store)
    if show_all or any((project, tags, status, since, where, sort)):
        runs = filter_runs(
            store.runs(), project=project, tags=tags, status=status, since=since, now=run_list.now()
        )
        if where is not None:
            runs = _where(store, runs, where)
        if sort is not None and sort not in COLUMNS:
            runs = store.with_metrics(runs)
        runs = sorted_runs(runs, sort)
        projects = frozenset(run.ref.project for run in runs)
        newest = runs if show_all else runs[:limit]
        found = NewestRuns(runs=newest, total=len(runs), projects=projects)
    else:
        found = store.newest_runs(limit)
    shown = store.with_metrics(found.runs)
    for run in shown:
        if run.manifest is None:
            screen.warn(run.reason)
    if screen.wants_json:
        screen.json({"runs": [run.to_json() for run in shown], "total": found.total})
        return
    screen.note(*_title(settings, found))
    listed = RunList(
        runs=shown,
        trends=loss_trends(screen, store, shown),
        counts=counts_in_force(),
        sort=sort,
        # What the runs are sorted by is shown, however narrow the terminal.
        added=None if sort in {None, *COLUMNS} else sort,
    )
    show_runs(screen, listed, n_more=found.total - len(shown))


def _where(store: "telemetry.Store", runs: Sequence[Run], condition: str) -> list[Run]:
    # The condition is the user's own SQL and runs on the locked connection of `query`.
    statement = "SELECT project, run FROM runs WHERE (" + condition + "\n)"  # noqa: S608 - see above
    result = telemetry.query_runs(store, statement, runs=runs)
    wanted = {(row["project"], row["run"]) for row in result.arrow.to_pylist()}
    return [run for run in runs if (run.ref.project, run.run) in wanted]


def _title(settings: Settings, found: NewestRuns) -> tuple[Cell, ...]:
    n_projects = len(found.projects)
    name = found.runs[0].project if n_projects == 1 else plural(n_projects, "project")
    return Span(name, Style.STRONG), str(settings.store), plural(found.total, "run")
