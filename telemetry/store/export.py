"""Exporting a run: one file per view, merged over shards, every page checksum verified first."""

import base64
import csv
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from telemetry import json_values
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.manifest import publish_json
from telemetry.format.runs import MANIFEST_NAME
from telemetry.format.shards import ROW_GROUP_ROWS
from telemetry.format.tables import table_names
from telemetry.json_values import Json
from telemetry.store.files.folders import is_real_folder
from telemetry.store.files.kept_files import FOLDER
from telemetry.store.files.shard_file import page_fault
from telemetry.store.runs.listing import Listing
from telemetry.store.runs.run import Run
from telemetry.store.sessions.rows import SqlValue
from telemetry.store.sessions.session import Session
from telemetry.store.sessions.sql import shown_tables
from telemetry.store.store import Store

ExportFormat = Literal["parquet", "csv", "json"]
FORMATS: tuple[str, ...] = get_args(ExportFormat)
# File name: view, beside those that show every row of a table. The two large tables are exported as
# the views without superseded rows.
SHAPED = {
    "steps": "steps",
    "metrics": "metrics",
    "events": "events",
    "findings": "findings",
    "tensors": "tensors",
    "modules": "modules",
    "layers": "layers",
    "activations": "activations",
    "tensor_stats": "tensor_rows",
    "module_stats": "module_rows",
}


def _exported() -> dict[str, str]:
    return {**SHAPED, **{name: name for name in shown_tables()}}


def export_run(store: Store, run: Run, target: Path, *, format: ExportFormat) -> list[Path]:  # noqa: A002 - the word of the command line
    """Write the views of a run, its manifest, and what explanations have drawn into a folder.

    Paths in the views, such as `explain/images/<id>.png`, are relative to that folder then.

    Args:
        store: Where the run lies.
        run: What to export.
        target: Folder; made when missing. No file in it is overwritten.
        format: `parquet`, `csv` (blobs in base64, NULL empty) or `json` (`{"view", "rows"}`, rows
            as objects, non-finite numbers as strings).

    Returns:
        The files written; a view without rows gives none.

    Raises:
        UsageError: unknown format, or a file of the export is there already.
        StoreUnreadable: a shard is torn or a checksum is wrong; nothing was written.
    """
    if format not in FORMATS:
        raise UsageError(f"format {format!r} is unknown; choose {', '.join(FORMATS)}.")
    files = {view: target / f"{name}.{format}" for name, view in _exported().items()}
    _check_target(target, [*files.values(), target / MANIFEST_NAME, target / FOLDER])
    _verify(run)
    try:
        target.mkdir(parents=True, exist_ok=True)
        with store.session([run]) as session:
            written = [path for view, path in files.items() if _export(session, view, path)]
        if run.manifest:
            publish_json(target / MANIFEST_NAME, run.manifest.to_json())
            written.append(target / MANIFEST_NAME)
        written += _copy_explained(run.ref.path, target)
    except OSError as error:
        raise StoreUnreadable(f"{target} cannot be written: {error.strerror}.") from error
    return written


def _copy_explained(run: Path, target: Path) -> list[Path]:
    """Copy pictures, arrays and pages; links are left out, whatever they point to."""
    copies = []
    for path in sorted((run / FOLDER).glob("*/*")):
        folder = path.parent
        if is_real_folder(folder.parent) and is_real_folder(folder) and _is_plain_file(path):
            copy = target / FOLDER / folder.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, copy)
            copies.append(copy)
    return copies


def _is_plain_file(path: Path) -> bool:
    return path.is_file() and not path.is_symlink() and not path.name.startswith(".")


def _check_target(target: Path, files: Sequence[Path]) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; an export needs a folder.")
    taken = [path for path in files if path.exists() or path.is_symlink()]
    if taken:
        raise UsageError(
            f"{taken[0]} already exists and is not overwritten; choose another folder."
        )


def _verify(run: Run) -> None:
    """Read every page once with its checksum: DuckDB does not look at them.

    Raises:
        StoreUnreadable: a shard is torn or wrong.
    """
    listing = Listing([run])
    files = [file for name in table_names() for file in listing.files(name)]
    faults = [f"{run.run}/{file.place}: {fault}" for file in files if (fault := page_fault(file))]
    faults += listing.skipped
    if faults:
        raise StoreUnreadable(
            f"{run.run} was not exported because {len(faults)} of its shards cannot be trusted: "
            f"{faults[0]} Move them out of the run folder to export the rest."
        )


def _export(session: Session, view: str, path: Path) -> bool:
    """Write one view; False when it has no rows."""
    batches = session.batches(f"SELECT * FROM {view}")  # noqa: S608 - a name of ours
    first = next(batches, None)
    if first is None:
        return False
    part = path.with_name(f".{path.name}.part")
    try:
        _WRITERS[path.suffix](part, view, first.schema, _all(first, batches))
        part.rename(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return True


def _all(first: pa.RecordBatch, rest: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    yield first
    yield from rest


def _write_parquet(
    path: Path, _view: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> None:
    with path.open("xb") as stream, pq.ParquetWriter(stream, schema, compression="zstd") as writer:
        for batch in batches:
            writer.write_batch(batch, row_group_size=ROW_GROUP_ROWS)


def _write_csv(
    path: Path, _view: str, schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> None:
    with path.open("x", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(schema.names)
        for batch in batches:
            for row in batch.to_pylist():
                writer.writerow(["" if v is None else plain_value(v) for v in row.values()])


def _write_json(
    path: Path, view: str, _schema: pa.Schema, batches: Iterator[pa.RecordBatch]
) -> None:
    with path.open("x", encoding="utf-8") as stream:
        stream.write(f'{{"view": {json_values.dumps(view)}, "rows": [')
        separator = "\n"
        for batch in batches:
            for row in batch.to_pylist():
                plain = {name: plain_value(value) for name, value in row.items()}
                stream.write(separator + json_values.dumps(plain))
                separator = ",\n"
        stream.write("\n]}\n")


_WRITERS: dict[str, Callable[[Path, str, pa.Schema, Iterator[pa.RecordBatch]], None]] = {
    ".parquet": _write_parquet,
    ".csv": _write_csv,
    ".json": _write_json,
}


def plain_value(value: SqlValue) -> Json:
    """A cell as JSON knows it: blobs in base64, times in ISO-8601 (UTC)."""
    if isinstance(value, bytes):
        return base64.b64encode(value).decode("ascii")
    if isinstance(value, datetime):
        return value.isoformat()
    return value
