"""Whether the shards of a run are what they were: names, sizes and times of files and folders.

A folder's time of change tells whether a name was added or removed, so that nothing has to be
listed again: 29 looks at a small run instead of 19 lists.
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.format.runs import MANIFEST_NAME, RunRef
from telemetry.json_values import Json, json_list, json_object
from telemetry.store.files.folders import rank_folders

NANOSECONDS = 1e9  # of a second


@dataclass(frozen=True, slots=True)
class FolderState:
    """A text that differs as soon as anything does, and when the newest change was.

    Attributes:
        files: Size, two times of change in nanoseconds and inode of each folder and file.
    """

    files: tuple[tuple[int, int, int, int], ...]

    @property
    def text(self) -> str:
        """Another one where any of the numbers is another."""
        return hashlib.blake2b(repr(self.files).encode(), digest_size=16).hexdigest()

    @property
    def changed_s(self) -> float:
        """When the newest change was."""
        return max(max(changed) for _, *changed, _ in self.files) / NANOSECONDS


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
    try:
        # The manifest may be a link: what it says is what counts.
        states = [os.stat(f"{folder}/{MANIFEST_NAME}")]  # noqa: PTH116 - thousands of them
        states += map(os.lstat, _paths(folder, shards))
    except (OSError, ValueError):
        return None
    return FolderState(
        tuple([(one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino) for one in states])
    )


def _paths(folder: str, shards: Mapping[str, Json]) -> list[str]:
    paths = [folder]
    for table, ranks in shards.items():
        paths.append(f"{folder}/{table}")
        for rank, names in json_object(ranks).items():
            place = f"{folder}/{table}/rank={rank}"
            paths.append(place)
            paths += [f"{place}/{name}" for name in json_list(names)]
    return paths


def _ignore(_message: str) -> None:
    """Whoever reads the table repeats the warning."""
