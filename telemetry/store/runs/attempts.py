"""Process lives of a run and the step each began at: from the manifest, else from its shards."""

from functools import cache

from telemetry.errors import StoreUnreadable
from telemetry.format.runs import live_shards, parse_shard_name
from telemetry.format.shards import read_footer
from telemetry.format.tables import table, table_names
from telemetry.store.files.folders import RankFolder, rank_folders
from telemetry.store.runs.flight_rows import flight_rows
from telemetry.store.runs.run import Run

OUTSIDE_TRAINING = 0  # attempt of shards that no training process wrote


def attempt_starts(run: Run) -> dict[int, int | None]:
    """First step of each attempt that wrote anything, ascending; None when it observed no step.

    A manifest that was closed properly knows them all, but for one that was killed in its first
    second. Any other may lag behind the shards, be damaged, or be the work of one attempt only:
    then the shards complete it.
    """
    known: dict[int, int | None] = {}
    if run.manifest:
        known = {entry.attempt: entry.start_step for entry in run.manifest.attempts}
        is_complete = known.keys() == set(range(1, len(known) + 1))
        if run.manifest.closed and run.manifest.files and known and is_complete:
            return known
    folders = _training_folders(run)
    seen = _attempts_of(folders) - {OUTSIDE_TRAINING}
    for attempt in seen - known.keys():
        known[attempt] = _first_step(folders, attempt)
    for row in flight_rows(run, _ignore):  # killed before its first shard
        if known.get(row.attempt) is None:
            known[row.attempt] = row.step
    return dict(sorted(known.items()))


@cache
def training_tables() -> tuple[str, ...]:
    """Tables that an attempt writes."""
    return tuple(
        name
        for name in table_names()
        if any(column.name == "attempt" for column in table(name).columns)
    )


def _training_folders(run: Run) -> list[RankFolder]:
    return [folder for name in training_tables() for folder in rank_folders(run.ref, name, _ignore)]


def _attempts_of(folders: list[RankFolder]) -> set[int]:
    shards = (parse_shard_name(name) for folder in folders for name in folder.names)
    return {shard.attempt for shard in shards if shard is not None}


def _ignore(_message: str) -> None:
    """Whoever reads the table repeats the warning."""


def _first_step(folders: list[RankFolder], attempt: int) -> int | None:
    """Smallest step of the attempt; `steps` alone where it exists, for metrics may be late."""
    for wanted in (("steps/",), ("tensor_stats/", "module_stats/", "metrics/")):
        steps = [
            step
            for folder in folders
            if folder.place.startswith(wanted)
            for name in live_shards(folder.names)
            if (step := _min_step(folder, name, attempt)) is not None
        ]
        if steps:
            return min(steps)
    return None


def _min_step(folder: RankFolder, name: str, attempt: int) -> int | None:
    shard = parse_shard_name(name)
    if shard is None or shard.attempt != attempt:
        return None
    try:
        return read_footer(folder.path / name).min_step
    except StoreUnreadable:
        return None
