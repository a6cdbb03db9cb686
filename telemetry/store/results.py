"""Rows that are found out after training, published in the folder of their run."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from telemetry.errors import StoreUnreadable
from telemetry.format.runs import new_shard_name, parse_shard_name
from telemetry.format.shards import listed_shards, read_shard, table_folder, write_shard
from telemetry.format.tables import Table, table
from telemetry.store.files.locks import run_lock
from telemetry.store.runs.attempts import OUTSIDE_TRAINING

LOCK_TRIES = 300  # of 0.1 s: merging the shards of a long run takes that long


def append_once(
    run: Path, name: str, rows: Sequence[Mapping[str, object]], *, identity: str
) -> bool:
    """Publish rows as one shard; False when the run has rows of the same identity already.

    Args:
        run: The run folder.
        name: The table.
        rows: At least one, all of one value of the identifying column.
        identity: The column that tells one answer from another, such as `eval_id`.

    Raises:
        StoreUnreadable: the disk refuses, or somebody else writes for half a minute.
    """
    schema = table(name)
    folder = table_folder(run, name, 0)
    try:
        with _locked(run):
            shards = listed_shards(folder)
            if str(rows[0][identity]) in _stored(shards, identity):
                return False
            # Readers take one shard of each range: every answer gets a number of its own.
            number = 1 + max((_number(path) for path in shards), default=0)
            shard = new_shard_name(first=number, last=number, attempt=OUTSIDE_TRAINING)
            write_shard(folder, schema, _as_table(schema, rows), shard)
    except OSError as error:
        raise StoreUnreadable(f"{folder}: cannot be written ({error.strerror}).") from error
    return True


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """Hold the lock of a run folder.

    Raises:
        StoreUnreadable: somebody else holds it for half a minute.
    """
    for _ in range(LOCK_TRIES):
        with run_lock(run) as held:
            if held:
                yield
                return
        time.sleep(0.1)
    raise StoreUnreadable(f"{run}: another process writes into this run; try again.")


def _number(path: Path) -> int:
    name = parse_shard_name(path.name)
    return 0 if name is None else name.last


def _stored(shards: Sequence[Path], identity: str) -> set[str]:
    """Identities of the rows that can be read."""
    found: set[str] = set()
    for path in shards:
        try:
            column = read_shard(path, [identity]).column(identity)
        except StoreUnreadable:
            continue
        found.update(map(str, column.unique().to_pylist()))
    return found


def _as_table(schema: Table, rows: Sequence[Mapping[str, object]]) -> pa.Table:
    arrays = [
        pa.array([row.get(column.name) for row in rows], type=column.arrow_type)
        for column in schema.columns
    ]
    return pa.table(arrays, schema=schema.arrow_schema())
