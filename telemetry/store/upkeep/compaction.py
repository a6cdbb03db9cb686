"""Merging of shards: many small files of one table, rank and attempt become one larger file.

The rows stay the same. A merged shard becomes visible by rename, like any other, and by its name
alone the shards that it was made of are dead to readers; they are removed a minute later, so that
whoever has listed them before can still open them. A process that dies at any point leaves either
the old files or both.
"""

import logging
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from telemetry.errors import SchemaMismatch, StoreUnreadable
from telemetry.format.runs import (
    RunRef,
    ShardName,
    live_shards,
    new_shard_name,
    parse_shard_name,
    remove_quietly,
)
from telemetry.format.shards import publish_shard, read_footer, read_shard, sorted_rows
from telemetry.format.tables import Table, table
from telemetry.store.files.folders import RankFolder, rank_folders
from telemetry.store.runs.attempts import OUTSIDE_TRAINING, training_tables

logger = logging.getLogger(__name__)

LEVEL_FILES = 8  # of one level, before they are merged while the run goes on
TARGET_BYTES = 32 * 1024 * 1024  # of a merged file; a million rows of tensor_stats take 0.5 GB
GRACE_S = 60.0  # a query that has listed the old files opens them within it


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """What a compaction did: files that it read, files that it wrote, files that it removed."""

    n_inputs: int = 0
    n_outputs: int = 0
    n_removed: int = 0

    def __add__(self, other: "Merged") -> "Merged":
        return Merged(
            n_inputs=self.n_inputs + other.n_inputs,
            n_outputs=self.n_outputs + other.n_outputs,
            n_removed=self.n_removed + other.n_removed,
        )


def merge_shards(run: RunRef, *, is_over: bool) -> Merged:
    """Merge what the training of a run has written; the caller holds the lock of the run.

    Args:
        run: The run.
        is_over: Nobody writes it any more: everything is merged, not only what fills a level.

    Raises:
        OSError: the disk refuses; what was merged before stays.
    """
    done = Merged()
    for table_name in training_tables():
        for folder in rank_folders(run, table_name, logger.debug):
            done += _merge_folder(folder, table(table_name), is_over=is_over)
    return done


def remove_replaced(run: RunRef, *, now_s: float, grace_s: float = GRACE_S) -> Merged:
    """Remove the shards that merged ones have replaced for longer than the grace.

    Only what a merged shard names as its input is removed, and an input before the shard that it
    went into.

    Args:
        run: The run.
        now_s: Seconds since the epoch.
        grace_s: How old the merged shard has to be.
    """
    n_removed = 0
    for table_name in training_tables():
        for folder in rank_folders(run, table_name, logger.debug):
            n_removed += _remove_replaced(folder, now_s=now_s, grace_s=grace_s)
    return Merged(n_removed=n_removed)


def live_sizes(run: RunRef) -> tuple[int, ...]:
    """Bytes of each live shard that the training of a run has written."""
    return tuple(
        n_bytes
        for table_name in training_tables()
        for folder in rank_folders(run, table_name, logger.debug)
        for n_bytes in _sizes(folder.path, set()).values()
    )


def sweep_merged_parts(run: RunRef) -> None:
    """Remove what a compaction that was killed has left half written; needs the lock of the run."""
    for part in run.path.glob("*/rank=*/.*.part"):
        parsed = parse_shard_name(part.name.removeprefix(".").removesuffix(".part"))
        if parsed is not None and parsed.level > 0:
            remove_quietly(part)


def merge_groups(
    sizes: Mapping[ShardName, int], *, is_over: bool
) -> Iterator[tuple[ShardName, ...]]:
    """Which live shards of one table and rank become one file, oldest first.

    Only neighbours are merged: a hole between two ranges is a lost shard, and has to stay visible.

    Args:
        sizes: Bytes of each live shard.
        is_over: Whether everything is merged, or only eight files of one level.
    """
    by_attempt: dict[int, list[ShardName]] = defaultdict(list)
    for name in sorted(sizes, key=lambda name: (name.attempt, name.first)):
        by_attempt[name.attempt].append(name)
    for attempt, names in by_attempt.items():
        if attempt == OUTSIDE_TRAINING:
            continue
        for neighbours in _neighbours(names, same_level=not is_over):
            for group in _within_target(neighbours, sizes):
                if len(group) >= (2 if is_over else LEVEL_FILES):
                    yield tuple(group)


def _neighbours(names: Iterable[ShardName], *, same_level: bool) -> Iterator[list[ShardName]]:
    """Runs of shards without a hole between them, of one level if that is asked for."""
    found: list[ShardName] = []
    for name in names:
        fits = bool(found) and name.first == found[-1].last + 1
        if found and not (fits and (not same_level or name.level == found[-1].level)):
            yield found
            found = []
        found.append(name)
    if found:
        yield found


def _within_target(
    names: Iterable[ShardName], sizes: Mapping[ShardName, int]
) -> Iterator[list[ShardName]]:
    """The same shards in groups that make a file of the target size at most."""
    group: list[ShardName] = []
    n_bytes = 0
    for name in names:
        if group and n_bytes + sizes[name] > TARGET_BYTES:
            yield group
            group, n_bytes = [], 0
        group.append(name)
        n_bytes += sizes[name]
    if group:
        yield group


def _merge_folder(folder: RankFolder, schema: Table, *, is_over: bool) -> Merged:
    """Merge in one folder until nothing is left to be merged."""
    done = Merged()
    left_alone: set[str] = set()
    while True:
        sizes = _sizes(folder.path, left_alone)
        group = next(merge_groups(sizes, is_over=is_over), None)
        if group is None:
            return done
        unusable = _merge(folder.path, schema, group)
        left_alone |= unusable
        if not unusable:
            done += Merged(n_inputs=len(group), n_outputs=1)


def _sizes(folder: Path, left_alone: set[str]) -> dict[ShardName, int]:
    """Bytes of the live shards of a folder, without those that cannot be merged."""
    try:
        with os.scandir(folder) as entries:
            found = {e.name: e for e in entries if e.is_file(follow_symlinks=False)}
    except OSError:
        return {}
    sizes: dict[ShardName, int] = {}
    for name in set(live_shards(found)) - left_alone:
        parsed = parse_shard_name(name)
        with suppress(OSError):  # gone since it was listed
            if parsed is not None:
                sizes[parsed] = found[name].stat().st_size
    return sizes


def _merge(folder: Path, schema: Table, group: Sequence[ShardName]) -> set[str]:
    """Make one shard of several; returns the names of those that prevent it.

    Raises:
        OSError: the disk refuses.
    """
    parts: list[pa.Table] = []
    unusable: set[str] = set()
    for name in group:
        rows = _rows(folder / str(name), schema)
        if rows is None:
            unusable.add(str(name))
        else:
            parts.append(rows)
    if unusable:
        return unusable
    rows = sorted_rows(schema, pa.concat_tables(parts))
    wanted = content_hash(pa.concat_tables(parts))
    name = new_shard_name(
        first=group[0].first,
        last=group[-1].last,
        attempt=group[0].attempt,
        level=max(name.level for name in group) + 1,
    )
    replaces = [str(name) for name in group]
    publish_shard(folder, schema, rows, name, replaces=replaces, check=_holds(wanted))
    return set()


def _rows(path: Path, schema: Table) -> pa.Table | None:
    """All rows of a shard with the columns of today; None: it stays as it is."""
    try:
        if read_footer(path).version > schema.version:
            return None  # merging would lose its new columns
        return sorted_rows(schema, read_shard(path))
    except (StoreUnreadable, SchemaMismatch) as error:
        logger.debug("%s was not merged: %s", path, error)
        return None


def _holds(wanted: tuple[int, int]) -> Callable[[Path], None]:
    def check(path: Path) -> None:
        if content_hash(read_shard(path)) != wanted:
            raise OSError(f"{path}: the merged shard does not contain the rows of its inputs")

    return check


def content_hash(rows: pa.Table) -> tuple[int, int]:
    """Number of rows and a hash of them that does not depend on their order.

    It is comparable within one process only: DuckDB's hash changes between versions.
    """
    with duckdb.connect(":memory:", config={"threads": 1}) as connection:
        connection.register("merged", rows)
        found = connection.execute(
            "SELECT COUNT(*), CAST(COALESCE(SUM(HASH(m)), 0) AS HUGEINT) FROM merged AS m"
        ).fetchone()
    assert found is not None  # noqa: S101 - an aggregate without groups has one row
    return int(found[0]), int(found[1])


def _remove_replaced(folder: RankFolder, *, now_s: float, grace_s: float) -> int:
    present = set(folder.names)
    replaced_by: dict[str, str] = {}
    for name in folder.names:
        parsed = parse_shard_name(name)
        if parsed is not None and parsed.level > 0:
            with suppress(StoreUnreadable):
                replaced_by |= dict.fromkeys(read_footer(folder.path / name).replaces, name)
    inputs_of: dict[str, set[str]] = defaultdict(set)
    for name, merged in replaced_by.items():
        inputs_of[merged].add(name)
    n_removed = 0
    live = set(live_shards(folder.names))
    for name in sorted(present - live, key=_level):
        successor = replaced_by.get(name)
        if successor is None or inputs_of[name] & present:
            continue
        with suppress(OSError):
            if now_s - (folder.path / successor).lstat().st_mtime >= grace_s:
                (folder.path / name).unlink()
                present.discard(name)
                n_removed += 1
    return n_removed


def _level(name: str) -> int:
    parsed = parse_shard_name(name)
    return 0 if parsed is None else parsed.level
