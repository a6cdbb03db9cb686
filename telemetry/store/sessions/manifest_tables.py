"""Small tables made from what is no shard: runs, attempts, files, steps of flight recorders."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from telemetry import json_values
from telemetry.format.tables import Column, Table, table, table_names
from telemetry.json_values import Json, json_integer
from telemetry.store.runs.attempts import attempt_starts
from telemetry.store.runs.findings_cache import input_hash, newest_findings
from telemetry.store.runs.flight_rows import flight_rows
from telemetry.store.runs.listing import Listing
from telemetry.store.runs.run import Run
from telemetry.store.sessions.run_metrics import OpenSession, with_metrics
from telemetry.store.sessions.value_columns import value_columns

Cell: TypeAlias = "float | int | str | datetime | None"


def _table(name: str, doc: str, *columns: tuple[str, str, str, str]) -> Table:
    return Table(
        name=name,
        version=1,
        doc=doc,
        sort=(),
        columns=tuple(_column(*column) for column in columns),
    )


def _column(name: str, kind: str, unit: str, meaning: str) -> Column:
    return Column(
        name=name,
        type=kind,
        unit=unit,
        doc=meaning,
        nullable=True,
        encoding="plain",
        merge="key",
        since=1,
    )


INTEGER = "INTEGER"  # of 32 bits
RUNS = "runs"
_KEY = (
    ("project", "VARCHAR", "", "Project, as its folder is called."),
    ("run", "VARCHAR", "", "Run id."),
)
MANIFEST_TABLES = {
    entry.name: entry
    for entry in (
        _table(
            RUNS,
            "One row per run, from its manifest; each metric and setting is a column as well.",
            *_KEY,
            ("name", "VARCHAR", "", "Display name."),
            ("status", "VARCHAR", "", "running, finished, failed, killed or unreadable."),
            ("started", "TIMESTAMP", "UTC", "When it was attached."),
            ("ended", "TIMESTAMP", "UTC", "When it was closed; NULL while it runs."),
            ("steps", "BIGINT", "optimizer steps", "Steps recorded so far."),
            ("tags", "VARCHAR", "JSON", "Tags."),
            ("config", "VARCHAR", "JSON", "Flat configuration with dotted keys."),
            (
                "metrics",
                "VARCHAR",
                "JSON",
                "{name: {last, best, best_step}}; of loss, means over a tenth of the steps.",
            ),
            ("n_error", "INTEGER", "", "Errors of the last stored diagnosis."),
            ("n_warning", "INTEGER", "", "Warnings of the last stored diagnosis."),
            ("n_info", "INTEGER", "", "Notes of the last stored diagnosis."),
        ),
        _table(
            "attempts",
            "One row per process life of a run.",
            *_KEY,
            ("attempt", "INTEGER", "", "Number of the process life, from 1."),
            ("start_step", "BIGINT", "optimizer step", "First step it observed; NULL if none."),
        ),
        _table(
            "files",
            "One row per live shard.",
            *_KEY,
            ("table_name", "VARCHAR", "", "Table."),
            ("rank", "INTEGER", "", "Rank that wrote it."),
            ("attempt", "INTEGER", "", "Process life that wrote it; 0 outside training."),
            ("level", "INTEGER", "", "How often it was merged."),
            ("path", "VARCHAR", "", "Path below the run folder."),
            ("n_rows", "BIGINT", "", "Rows."),
            ("n_bytes", "BIGINT", "bytes", "Size."),
            ("first_step", "BIGINT", "optimizer step", "First step while it was buffered."),
            ("last_step", "BIGINT", "optimizer step", "Last step while it was buffered."),
            ("schema_version", "INTEGER", "", "Version of the table's columns."),
        ),
        _table(
            "finding_inputs",
            "The newest stored diagnosis of each run and the state that would make it valid.",
            *_KEY,
            ("shard", "VARCHAR", "", "File of the diagnosis."),
            ("input_hash", "VARCHAR", "", "Hash of the run's live file names."),
        ),
    )
}


MANIFEST_TABLES["flight_steps"] = Table(
    name="flight_steps",
    version=1,
    doc="Steps that only the flight recorder of a killed process holds.",
    sort=(),
    columns=(
        *MANIFEST_TABLES["attempts"].columns[:2],
        _column("rank", "INTEGER", "", "Rank."),
        *table("steps").columns,
    ),
)


def manifest_table(name: str, listing: Listing, open_session: OpenSession) -> pa.Table:
    """One of `MANIFEST_TABLES` for the runs of a listing.

    Args:
        name: Its name.
        listing: The runs and their files.
        open_session: Reads the metrics that manifests lack.
    """
    if name == RUNS:
        return _runs(with_metrics(listing.runs, open_session))
    return _made(name, _ROWS[name](listing))


def _made(name: str, cells: Iterable[tuple[Cell, ...]]) -> pa.Table:
    rows, columns = list(cells), MANIFEST_TABLES[name].columns
    arrays = [
        pa.array([_fitting(row[index], column) for row in rows], type=column.arrow_type)
        for index, column in enumerate(columns)
    ]
    return pa.table(arrays, names=[column.name for column in columns])


def _runs(runs: Sequence[Run]) -> pa.Table:
    made = _made(RUNS, _run_rows(runs))
    for column in value_columns(runs, made.column_names):
        made = made.append_column(column.name, column.values)
    return made


def _run_rows(runs: Iterable[Run]) -> Iterator[tuple[Cell, ...]]:
    for run in runs:
        counts = run.finding_counts or {}
        yield (
            run.ref.project,
            run.run,
            run.name,
            str(run.status),
            _moment(run.started),
            _moment(run.manifest.ended if run.manifest else None),
            run.steps,
            json_values.dumps(run.tags),
            json_values.dumps(run.config),
            json_values.dumps(run.metrics),
            *(_count(counts.get(name)) for name in ("error", "warning", "info")),
        )


def _attempts(listing: Listing) -> Iterator[tuple[Cell, ...]]:
    for run in listing.runs:
        for attempt, start_step in attempt_starts(run).items():
            yield run.ref.project, run.run, attempt, start_step


def _files(listing: Listing) -> Iterator[tuple[Cell, ...]]:
    for table_name in table_names():
        for file in listing.files(table_name):
            yield (
                file.run.project,
                file.run.run,
                table_name,
                file.rank,
                file.name.attempt,
                file.name.level,
                file.place,
                file.n_rows,
                _size(file.path),
                file.name.first,
                file.name.last,
                file.version,
            )


def _finding_inputs(listing: Listing) -> Iterator[tuple[Cell, ...]]:
    for run in listing.runs:
        newest = newest_findings(run.ref)
        if newest is not None:
            yield run.ref.project, run.run, newest.name, input_hash(run.ref)


def _flight_steps(listing: Listing) -> Iterator[tuple[Cell, ...]]:
    columns = [column.name for column in table("steps").columns]
    for run in listing.runs:
        for row in flight_rows(run, listing.warn):
            own: dict[str, Cell] = {**row.values, "step": row.step, "attempt": row.attempt}
            yield (run.ref.project, run.run, row.rank, *(own.get(name) for name in columns))


_ROWS: dict[str, Callable[[Listing], Iterator[tuple[Cell, ...]]]] = {
    "attempts": _attempts,
    "files": _files,
    "flight_steps": _flight_steps,
    "finding_inputs": _finding_inputs,
}


def _fitting(cell: Cell, column: Column) -> Cell:
    """The cell; NULL for an integer that the column cannot hold, as a manifest may state one.

    Its texts may hold lone surrogates, which no Arrow text can.
    """
    if isinstance(cell, str):
        return cell.encode("utf-8", "replace").decode()
    if column.type == INTEGER and isinstance(cell, int):
        return json_integer(cell, bits=32)
    return cell


def _moment(text: str | None) -> datetime | None:
    try:
        return datetime.fromisoformat(text or "").astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):  # the latter at the ends of the calendar
        return None


def _count(value: Json) -> int | None:
    return json_integer(value, least=0, bits=32)


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None
