"""Immutable Parquet shards: written under a temporary name, fsynced, renamed, read back.

pyarrow carries no type information; it is wrapped here and in `tables.py`.
"""

import contextlib
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from telemetry.errors import SchemaMismatch, StoreUnreadable
from telemetry.format.runs import (
    ShardName,
    live_shards,
    parse_shard_name,
    remove_quietly,
    sync_folder,
    write_synced,
)
from telemetry.format.tables import Table

ROW_GROUP_ROWS = 122_880  # DuckDB's own unit of parallelism
SMALL_ROWS = 10_000
COMPRESSION_LEVEL = 3
DIGEST_BYTES = 16
# What pyarrow raises for a damaged file; ValueError where a name in the footer is not UTF-8.
UNREADABLE = (OSError, pa.ArrowException, ValueError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """One published shard; steps are the range of the `step` column, None in catalogues."""

    path: Path
    name: ShardName
    rows: int
    n_bytes: int
    min_step: int | None
    max_step: int | None
    blake2b: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footer:
    """What a shard says about itself: schema version, rows, range of `step`, types of columns.

    `replaces` names the shards of its folder that it was merged from.
    """

    version: int
    rows: int
    min_step: int | None
    max_step: int | None
    columns: Mapping[str, pa.DataType]
    replaces: tuple[str, ...] = ()


def table_folder(run: Path, table: str, rank: int) -> Path:
    """Where the shards of one table and rank lie."""
    return run / table / f"rank={rank}"


def write_shard(folder: Path, table: Table, rows: pa.Table, name: ShardName) -> Shard:
    """Publish rows, sorted by the table's key, as one shard that is visible whole or not at all.

    Args:
        folder: `table_folder(...)`; created when missing.
        table: The table the rows belong to.
        rows: Columns of the table, in any order; every nullable column may be missing.
        name: Range, attempt and token of the file.

    Raises:
        SchemaMismatch: a column is unknown, or a required one is missing or NULL.
        OSError: the disk refuses; nothing is visible then.
    """
    arranged = sorted_rows(table, rows)
    if not folder.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(folder.parent)
    return publish_shard(folder, table, arranged, name)


def publish_shard(
    folder: Path,
    table: Table,
    rows: pa.Table,
    name: ShardName,
    *,
    replaces: Sequence[str] = (),
    check: Callable[[Path], None] | None = None,
) -> Shard:
    """Publish rows that `sorted_rows` has arranged; the folder is never made.

    Args:
        folder: `table_folder(...)`.
        table: The table the rows belong to.
        rows: All columns of the table, sorted by its key.
        name: Range, attempt, level and token of the file.
        replaces: Names of the shards of the folder that it was merged from.
        check: Called with the finished file before it becomes visible; what it raises removes it.

    Raises:
        OSError: the disk refuses, or the folder is gone; nothing is visible then.
    """
    low, high = _step_range(rows)
    metadata = {
        "telemetry.schema": str(table.version),
        "telemetry.table": table.name,
        "telemetry.attempt": str(name.attempt),
        "telemetry.level": str(name.level),
        "telemetry.min_step": "" if low is None else str(low),
        "telemetry.max_step": "" if high is None else str(high),
        "telemetry.replaces": " ".join(replaces),
    }
    content = _parquet(table, rows.replace_schema_metadata(metadata))
    final = folder / str(name)
    part = folder / f".{name}.part"
    try:
        write_synced(part, content)
        if check is not None:
            check(part)
        _rename(part, final, n_bytes=len(content))
    except BaseException:
        remove_quietly(part)
        raise
    sync_folder(folder)
    return Shard(
        path=final,
        name=name,
        rows=rows.num_rows,
        n_bytes=len(content),
        min_step=low,
        max_step=high,
        blake2b=hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest(),
    )


def sorted_rows(table: Table, rows: pa.Table) -> pa.Table:
    """The rows with the table's columns, sorted by its key; equal keys keep their order.

    Raises:
        SchemaMismatch: a column is unknown, or a required one is missing or holds NULL.
    """
    return arrange(table, rows).sort_by([(key, "ascending") for key in table.sort])


def arrange(table: Table, rows: pa.Table) -> pa.Table:
    """The rows with exactly the table's columns, in its order, missing nullable ones as NULL.

    Raises:
        SchemaMismatch: a column is unknown, or a required one is missing or holds NULL.
    """
    unknown = sorted(set(rows.column_names) - {column.name for column in table.columns})
    if unknown:
        raise SchemaMismatch(f"{table.name}: unknown columns {', '.join(unknown)}.")
    arrays = []
    for column in table.columns:
        if column.name in rows.column_names:
            array = rows.column(column.name).cast(column.arrow_type)
        else:
            array = pa.nulls(rows.num_rows, column.arrow_type)
        if array.null_count and not column.nullable:
            raise SchemaMismatch(f"{table.name}.{column.name} is missing or NULL; it is required.")
        arrays.append(array)
    return pa.table(arrays, schema=table.arrow_schema())


def listed_shards(folder: Path) -> list[Path]:
    """Live shards of one table and rank, by listing; links and foreign files are not shards."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []
    regular = [e.name for e in entries if e.is_file(follow_symlinks=False)]
    return [folder / name for name in live_shards(regular)]


def sweep_parts(run: Path, *, older_than_s: float, now_s: float) -> int:
    """Remove what writers that were killed left half written; returns how many files.

    Args:
        run: The run folder.
        older_than_s: A younger file may be in the making.
        now_s: Seconds since the epoch.
    """
    n_removed = 0
    for part in (*run.glob(".*.part"), *run.glob("*/rank=*/.*.part")):
        with contextlib.suppress(OSError):
            if now_s - part.lstat().st_mtime > older_than_s:
                part.unlink()
                n_removed += 1
    return n_removed


def foreign_files(folder: Path) -> list[Path]:
    """Files of a shard folder that no writer of ours made; links count as foreign."""
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return []
    return sorted(
        Path(entry.path)
        for entry in entries
        if not entry.name.startswith(".")
        and (entry.is_symlink() or parse_shard_name(entry.name) is None)
    )


def read_shard(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """All rows of a shard, page checksums verified.

    Args:
        path: The file.
        columns: Those to read, if not all.

    Raises:
        StoreUnreadable: torn, truncated or not a Parquet file.
    """
    try:
        chosen = None if columns is None else list(columns)
        # Half the time of pq.read_table on a small file: no data set, no threads to wake.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            return file.read(columns=chosen, use_threads=file.metadata.num_rows > SMALL_ROWS)
    except UNREADABLE as error:
        raise StoreUnreadable(f"{path}: not a readable shard ({error}).") from error


def read_footer(path: Path) -> Footer:
    """What the footer says; no page is read.

    Raises:
        StoreUnreadable: torn, truncated, or a Parquet file of somebody else.
    """
    try:
        found = pq.read_metadata(path)
        columns = {field.name: field.type for field in found.schema.to_arrow_schema()}
    except UNREADABLE as error:
        raise StoreUnreadable(f"{path}: not a readable shard ({error}).") from error
    metadata = found.metadata or {}
    version = metadata.get(b"telemetry.schema", b"")
    if not version.isdigit():
        raise StoreUnreadable(f"{path}: a Parquet file, but not written by telemetry.")
    return Footer(
        version=int(version),
        rows=found.num_rows,
        min_step=_step(metadata.get(b"telemetry.min_step", b"")),
        max_step=_step(metadata.get(b"telemetry.max_step", b"")),
        columns=columns,
        replaces=tuple(metadata.get(b"telemetry.replaces", b"").decode("utf-8", "replace").split()),
    )


def _step(text: bytes) -> int | None:
    return int(text) if text.isdigit() else None


def _step_range(rows: pa.Table) -> tuple[int | None, int | None]:
    if "step" not in rows.column_names or not rows.num_rows:
        return None, None
    import pyarrow.compute as pc  # noqa: PLC0415 - a reader, who never writes, starts without

    bounds = pc.min_max(rows.column("step")).as_py()
    return bounds["min"], bounds["max"]


def _parquet(table: Table, rows: pa.Table) -> memoryview:
    """The file as bytes: written in one piece, so that a failing disk fails one call of ours."""
    sink = pa.BufferOutputStream()
    pq.write_table(
        rows,
        sink,
        version="2.6",
        data_page_version="1.0",
        compression="zstd",
        compression_level=COMPRESSION_LEVEL,
        write_page_checksum=True,
        row_group_size=ROW_GROUP_ROWS,
        use_dictionary=table.dictionary_columns(),
        column_encoding=table.column_encodings(),
    )
    return memoryview(sink.getvalue())


def _rename(part: Path, final: Path, *, n_bytes: int) -> None:
    """Make a shard visible; a rename that reports an error but happened is no failure (NFS)."""
    try:
        part.replace(final)
    except OSError:
        # The name holds a random token: a file of that name and size can only be this one.
        if part.exists() or not final.is_file() or final.stat().st_size != n_bytes:
            raise
