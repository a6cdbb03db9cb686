"""One live shard, and what can be wrong with it.

DuckDB checks no page: of 400 flipped bits 321 changed the rows of a query without a word. So each
file that is read is held against its hash in run.json, or against the checksums of its pages.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pyarrow as pa

from telemetry.errors import StoreUnreadable
from telemetry.format.runs import RunRef, ShardName
from telemetry.format.shards import DIGEST_BYTES, Footer, read_footer, read_shard
from telemetry.format.tables import Table, table

# Files that were found sound by this process, as they were then: path, size, time of change.
_sound: set[tuple[Path, int, int]] = set()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardFile:
    """One live shard: whose it is, its schema version, its rows, and its hash if that is known."""

    run: RunRef
    table: str
    rank: int
    path: Path
    name: ShardName
    version: int
    n_rows: int
    blake2b: str = ""

    @property
    def place(self) -> str:
        """Path below the run folder."""
        return str(self.path.relative_to(self.run.path))


# Why a shard is unusable, '' when it is fine.
Fault: TypeAlias = Callable[[ShardFile], str]


def checked_footer(path: Path, schema: Table) -> tuple[str, Footer | None]:
    """The footer of a shard that can be read as its table, else the reason why not."""
    try:
        footer = read_footer(path)
    except StoreUnreadable as error:
        return str(error).removeprefix(f"{path}: "), None
    lacking = [
        column.name
        for column in schema.columns
        if column.since <= footer.version and column.name not in footer.columns
    ]
    if lacking:
        return f"column {lacking[0]} is missing, so it is not a shard of {schema.name}.", None
    for column in schema.columns:
        found = footer.columns.get(column.name)
        if found is not None and not _is_alike(found, column.arrow_type):
            return f"column {column.name} is {found}, expected {column.arrow_type}.", None
    return "", footer


def _is_alike(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether a column holds the kind of value that its table says, of whatever width."""
    if isinstance(found, pa.DictionaryType):
        found = found.value_type
    kinds = (
        pa.types.is_integer,
        pa.types.is_floating,
        pa.types.is_boolean,
        pa.types.is_timestamp,
        lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
        lambda kind: pa.types.is_binary(kind) or pa.types.is_large_binary(kind),
    )
    known = [kind for kind in kinds if kind(expected)]
    return known[0](found) if known else bool(found == expected)


def footer_fault(file: ShardFile) -> str:
    """Why the footer of a shard is unusable, '' when it is fine."""
    return checked_footer(file.path, table(file.table))[0]


def page_fault(file: ShardFile) -> str:
    """Why the pages of a shard are unusable, '' when every checksum is right."""
    try:
        read_shard(file.path)
    except StoreUnreadable as error:
        return str(error).removeprefix(f"{file.path}: ")
    return ""


def content_fault(file: ShardFile) -> str:
    """Why the content of a shard is not what was written, '' when it is, or when it is gone.

    The hash takes a tenth of the time that the pages take. One that does not fit decides nothing
    by itself: it stands in another file, which may be the damaged one.
    """
    try:
        status = file.path.stat()
        state = (file.path, status.st_size, status.st_mtime_ns)
        if state in _sound:
            return ""
        fault = "" if _has_its_hash(file) else page_fault(file)
        if fault and not file.path.exists():
            return ""  # merged or deleted since it was listed
    except OSError:
        return ""  # whoever reads it says what is wrong
    if not fault:
        _sound.add(state)
    return fault


def _has_its_hash(file: ShardFile) -> bool:
    if not file.blake2b:
        return False
    found = hashlib.blake2b(file.path.read_bytes(), digest_size=DIGEST_BYTES).hexdigest()
    return found == file.blake2b
