"""Whether the shards of a run are what they were: names, sizes and times of files and folders.

A folder's time of change tells whether a name was added or removed, so that nothing has to be
listed again: 29 looks at a small run instead of 19 lists.
"""

import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from telemetry.format.runs import MANIFEST_NAME, RunRef
from telemetry.json_values import Json, json_list, json_object
from telemetry.store.folders import rank_folders


@dataclass(frozen=True, slots=True)
class FolderState:
    """A text that differs as soon as anything does, and when the newest change was."""

    text: str
    changed_s: float


def shard_names(ref: RunRef) -> dict[str, Json]:
    """Names of the shards of a run, `{table: {rank: [name]}}`."""
    from telemetry.format.tables import table_names  # noqa: PLC0415 - pyarrow

    try:
        there = set(os.listdir(ref.path))  # noqa: PTH208 - names alone
    except OSError:
        return {}
    return {
        table: {str(folder.rank): list(folder.names) for folder in folders}
        for table in table_names()
        if table in there and (folders := rank_folders(ref, table, _ignore))
    }


def folder_state(ref: RunRef, shards: Mapping[str, Json]) -> FolderState | None:
    """The state of a run's folders and of these shards; None where one is missing.

    Args:
        ref: The run.
        shards: As `shard_names` gives them.
    """
    folder = str(ref.path)
    digest = hashlib.blake2b(digest_size=16)
    newest = 0.0
    try:
        # The manifest may be a link: what it says is what counts.
        states = [os.stat(f"{folder}/{MANIFEST_NAME}")]  # noqa: PTH116 - thousands of them
        states += [os.lstat(path) for path in _paths(folder, shards)]
    except (OSError, ValueError):
        return None
    for found in states:
        numbers = found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino
        digest.update(b"%d,%d,%d,%d;" % numbers)
        newest = max(newest, found.st_mtime, found.st_ctime)
    return FolderState(digest.hexdigest(), newest)


def _paths(folder: str, shards: Mapping[str, Json]) -> Iterator[str]:
    yield folder
    for table, ranks in shards.items():
        yield f"{folder}/{table}"
        for rank, names in json_object(ranks).items():
            place = f"{folder}/{table}/rank={rank}"
            yield place
            for name in json_list(names):
                yield f"{place}/{name}"


def _ignore(_message: str) -> None:
    """Whoever reads the table repeats the warning."""
