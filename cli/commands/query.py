"""Run one SELECT over the views of the store; it can only read runs.

Examples:
  telemetry query "select layer, max(grad_norm) from layers group by 1"
  telemetry query --run latest "select step, loss from steps order by step" --format csv
  telemetry query "from findings" --json
  telemetry query "from steps" --format parquet --output steps.parquet
  telemetry query --schema layers
"""

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.cached_diagnosis import judge_all
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output import query_cells, row_writers
from telemetry.cli.output.grid import Span, Style
from telemetry.cli.output.render import Screen, open_screen, safe_json
from telemetry.cli.screens import reference
from telemetry.cli.screens.store_warnings import show_warnings
from telemetry.errors import UsageError

if TYPE_CHECKING:
    from telemetry.store.runs.run import Run
    from telemetry.store.user_sql.query import QueryResult
    from telemetry.store.user_sql.row_stream import RowStream

GROUP = "Data"
FORMATS = ("table", "csv", "json", "parquet")
TERMINAL_ROWS = {"table": 200, "csv": 10_000, "json": 10_000}
DEFAULT_TIMEOUT_S = 60.0
FINDINGS = "findings"  # a view that is filled when it is first asked for


@verb(__name__, __doc__)
@click.argument("sql", metavar="[SQL]", required=False)
@click.option(
    "--run",
    "selectors",
    metavar="RUN",
    shell_complete=complete_runs,
    multiple=True,
    help="Query only these runs; tag=x and patterns also work.",
)
@click.option("--project", metavar="NAME", help="Query only runs of this project.")
@click.option("--since", metavar="AGE", help="Query only runs started since 12h, 2d or 2026-01-31.")
@click.option(
    "--format", "format_", type=click.Choice(FORMATS), help="Output format (default: a table)."
)
@click.option(
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the rows to this file.",
)
@click.option("--schema", is_flag=True, help="List the views, or the columns of one view.")
@click.option("--limit", metavar="N", type=click.IntRange(0), help="Return at most N rows.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    default=DEFAULT_TIMEOUT_S,
    show_default=True,
    help="Stop the query after this time, counted to its last row.",
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="Use at most this much memory, such as 4GB, for DuckDB and buffered rows.",
)
@click.pass_obj
def command(  # noqa: PLR0913 - one argument per option
    settings: Settings,
    *,
    sql: str | None,
    selectors: tuple[str, ...],
    project: str | None,
    since: str | None,
    format_: str | None,
    output: Path | None,
    schema: bool,
    limit: int | None,
    timeout: float,
    memory: str | None,
) -> None:
    """Choose the runs, run the statement, write the rows."""
    screen = open_screen(settings)
    if schema:
        reference.show_views(screen, telemetry.Store(settings.store), sql)
        return
    if sql is None:
        raise UsageError("no SQL was given; `telemetry query --schema` lists the views.")
    statement = sys.stdin.read() if sql == "-" else sql
    form = format_ or ("json" if screen.wants_json else "table")
    if form == "parquet" and output is None:
        raise UsageError("--format parquet writes a file; add --output FILE.")
    from telemetry.store.user_sql.query import collected, stream_query  # noqa: PLC0415 - keeps --help fast
    from telemetry.store.user_sql.row_stream import QueryLimits  # noqa: PLC0415 - as above

    store = telemetry.Store.open(settings.store)
    runs = chosen_runs(store, selectors, project=project, since=since)
    _ensure_findings(store, runs, statement)
    limits = QueryLimits(
        timeout_s=timeout,
        memory_bytes=query_cells.parse_size(memory) if memory else None,
        most_rows=limit if limit is not None else _default_limit(screen, form, output),
    )
    ask = partial(stream_query, store, statement, limits=limits, runs=runs)
    if output is not None:
        write = partial(row_writers.write_file, form=form, path=output)
        _keep(screen, ask(write, can_repeat=row_writers.is_kept_apart(output)), output)
    elif form == "table" and screen.for_people:
        _show(screen, ask(collected))
    else:
        ask(partial(_pour, screen, form=form), can_repeat=False)


def chosen_runs(
    store: "telemetry.Store", selectors: Sequence[str], *, project: str | None, since: str | None
) -> list["Run"]:
    """The runs that the views shall show, newest first.

    Raises:
        RunNotFound: a selector fits no run.
    """
    from telemetry.store.runs.select import filter_runs, select_groups  # noqa: PLC0415 - as below

    known: list[Run] = store.runs()
    if selectors:
        known = select_groups(known, selectors)
    return filter_runs(known, project=project, since=since)


def _ensure_findings(store: "telemetry.Store", runs: Sequence["Run"], statement: str) -> None:
    from telemetry.store.sessions.sql import mentioned  # noqa: PLC0415 - keeps --help fast

    if mentioned(statement, [FINDINGS]):
        judge_all(store, runs)


def _default_limit(screen: Screen, form: str, output: Path | None) -> int | None:
    return TERMINAL_ROWS.get(form) if screen.for_people and output is None else None


def _keep(screen: Screen, stream: "RowStream", output: Path) -> None:
    show_warnings(screen, stream.warnings)
    screen.note(Span(f"{stream.n_rows} rows in {output}", Style.FAINT))


def _pour(screen: Screen, stream: "RowStream", *, form: str) -> None:
    show_warnings(screen, stream.warnings)
    if form == "json":
        safe = partial(safe_json, ascii_only=not screen.knows_unicode)
        row_writers.write_json(stream, sys.stdout, safe=safe)
    elif form == "csv":
        row_writers.write_csv(stream, sys.stdout, clean_cells=screen.for_people)
    else:
        row_writers.write_lines(stream, sys.stdout)


def _show(screen: Screen, result: "QueryResult") -> None:
    show_warnings(screen, result.warnings)
    n_left_out = screen.grid(query_cells.grid(result), indent=0)
    if n_left_out:
        left_out = f"{n_left_out} of {len(result.columns)} columns do not fit"
        screen.note(Span(f"{left_out}; select fewer, or use --format csv", Style.FAINT))
    if result.truncated:
        shown = f"first {result.arrow.num_rows} rows; --limit shows more"
        screen.note(Span(shown, Style.FAINT))
