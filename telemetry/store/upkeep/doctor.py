"""What is wrong with the files of a store: torn, changed, lost, foreign, or left half written."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from telemetry.format.tables import table_names
from telemetry.store.files.shard_file import ShardFile
from telemetry.store.runs.attempts import training_tables
from telemetry.store.runs.flight_rows import flight_rows
from telemetry.store.runs.listing import Listing
from telemetry.store.runs.run import Run
from telemetry.store.upkeep.leftovers import leftover_folders


@dataclass(frozen=True, slots=True, kw_only=True)
class Complaint:
    """One thing that is wrong; `run` is the id, or '' for the store itself."""

    run: str
    text: str


def examine_run(run: Run, *, verify: bool) -> list[Complaint]:
    """What is wrong with one run.

    Args:
        run: The run.
        verify: Also read every file and hold its content against its checksums; else only names,
            sizes and footers are looked at.
    """
    listing = Listing([run])
    files: list[ShardFile] = []
    for name in table_names():
        found = listing.sound_files(name) if verify else listing.files(name)
        if name in training_tables():
            files += found
    flight_rows(run, listing.warn)
    return [Complaint(run=run.run, text=text) for text in (*listing.warnings, *_holes(run, files))]


def examine_store(store: Path, *, now_s: float) -> list[Complaint]:
    """What lies in a store and belongs to no run.

    Args:
        store: Folder of the store.
        now_s: Seconds since the epoch.
    """
    return [
        Complaint(
            run="",
            text=f"{folder.relative_to(store)} never became a run; `telemetry compact` removes it.",
        )
        for folder in leftover_folders(store, now_s=now_s)
    ]


def _holes(run: Run, files: Sequence[ShardFile]) -> Iterator[str]:
    """Ranges of steps that no shard covers, between shards of one table, rank and attempt."""
    by_place: dict[tuple[str, int, int], list[ShardFile]] = {}
    for file in files:
        if file.name.attempt:
            by_place.setdefault((file.table, file.rank, file.name.attempt), []).append(file)
    for (table_name, rank, _), found in by_place.items():
        found.sort(key=lambda file: file.name.first)
        for left, right in pairwise(found):
            if right.name.first > left.name.last + 1:
                yield (
                    f"{run.run}/{table_name}/rank={rank}: steps {left.name.last + 1} to "
                    f"{right.name.first - 1} are missing; a shard is lost."
                )
