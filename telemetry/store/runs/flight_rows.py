"""Rows of `steps` that only the flight recorder holds: of processes that died before writing them.

A ring counts once its process is gone; what a shard holds is taken from the shard. A ring that
cannot be read is named and left alone.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from telemetry.errors import StoreUnreadable
from telemetry.format.flight_ring import (
    SIZE_LIMIT_BYTES,
    WALL_TIME,
    Number,
    Ring,
    parse_ring,
    parse_ring_name,
)
from telemetry.format.manifest import Status
from telemetry.format.regular_files import read_regular
from telemetry.format.runs import live_shards, parse_claim_name, parse_shard_name
from telemetry.format.shards import read_footer
from telemetry.store.files.folders import rank_folders
from telemetry.store.runs.run import Run

Cell: TypeAlias = "Number | datetime"


@dataclass(frozen=True, slots=True, kw_only=True)
class FlightRow:
    """One step that is in no shard; `values` by column of `steps`."""

    rank: int
    attempt: int
    step: int
    values: Mapping[str, Cell]


@dataclass(frozen=True, slots=True, kw_only=True)
class LostSteps:
    """Steps from `first` to `last` that an attempt ended before writing, and its ring forgot."""

    attempt: int
    first: int
    last: int


def flight_rows(run: Run, warn: Callable[[str], None]) -> list[FlightRow]:
    """Steps of a run that only its flight recorders hold, by attempt, rank and step.

    Args:
        run: The run.
        warn: Told what cannot be read.
    """
    rings = list(_rings(run, warn))
    if not rings:
        return []
    written = _written_until(run)
    return [
        FlightRow(rank=ring.rank, attempt=ring.attempt, step=step, values=_row(record))
        for ring in sorted(rings, key=lambda ring: (ring.attempt, ring.rank))
        for step, record in ring.records.items()
        if step > written.get((ring.attempt, ring.rank), -1)
    ]


def steps_recorded(run: Run) -> int:
    """One more than the last step that rank 0 of the newest attempt has left on the disk."""
    last = {key: step for key, step in _written_until(run).items() if step >= 0}
    for row in flight_rows(run, _ignore):
        last[row.attempt, row.rank] = row.step
    newest = max((key for key in last if key[1] == 0), default=None)
    return 0 if newest is None else last[newest] + 1


def lost_steps(run: Run, starts: Mapping[int, int | None]) -> list[LostSteps]:
    """Holes between the last step in a shard and the first one in the ring, of rank 0.

    Args:
        run: The run.
        starts: First step of each attempt, None where it is not known.
    """
    written, lost = _written_until(run), []
    rows = [row for row in flight_rows(run, _ignore) if row.rank == 0]
    for attempt in sorted({row.attempt for row in rows}):
        kept = min(row.step for row in rows if row.attempt == attempt)
        first = written.get((attempt, 0), -1) + 1 or _begun_at(attempt, run, rows)
        # What a later attempt repeated is not missing.
        later = [s for number, s in starts.items() if number > attempt and s is not None]
        last = min([kept, *later]) - 1
        if first <= last:
            lost.append(LostSteps(attempt=attempt, first=first, last=last))
    return lost


def _begun_at(attempt: int, run: Run, rows: Sequence[FlightRow]) -> int:
    """First step of an attempt without a shard; it may have been killed before it was entered."""
    entries = run.manifest.attempts if run.manifest else ()
    for entry in entries:
        if entry.attempt == attempt:
            return entry.start_step
    before = [step for (number, _), step in _written_until(run).items() if number < attempt]
    return 1 + max([-1, *before, *(row.step for row in rows if row.attempt < attempt)])


def _rings(run: Run, warn: Callable[[str], None]) -> Iterator[Ring]:
    """Readable rings of processes that are gone."""
    hidden = _hidden_names(run.ref.path)
    names = {name: place for name in hidden if (place := parse_ring_name(name))}
    claims = [place for name in hidden if (place := parse_claim_name(name))]
    # The manifest knows an attempt once it has written; one without a ring has left its claim.
    recorded = [entry.attempt for entry in run.manifest.attempts] if run.manifest else []
    newest = max([*recorded, *(attempt for attempt, _ in (*names.values(), *claims))], default=0)
    for name, (attempt, rank) in names.items():
        if run.status is Status.RUNNING and attempt == newest:
            continue  # still being written
        try:
            ring = parse_ring(_content(run.ref.path / name))
        except StoreUnreadable as error:
            warn(f"{run.run}/{name} ignored: {error}")
            continue
        if (ring.attempt, ring.rank) != (attempt, rank):
            warn(f"{run.run}/{name} ignored: it belongs to another attempt.")
            continue
        if ring.n_torn:
            warn(f"{run.run}/{name}: {ring.n_torn} incomplete records were skipped.")
        yield ring


def _hidden_names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return [entry.name for entry in entries if entry.name.startswith(".")]
    except OSError:
        return []


def _content(path: Path) -> bytes:
    try:
        if path.is_symlink():
            raise StoreUnreadable("it is a link.")
        return read_regular(path, limit_bytes=SIZE_LIMIT_BYTES)
    except OSError as error:
        raise StoreUnreadable(f"{error.strerror}.") from error


def _written_until(run: Run) -> dict[tuple[int, int], int]:
    """Last step in the shards of `steps`, by attempt and rank."""
    last: dict[tuple[int, int], int] = {}
    for folder in rank_folders(run.ref, "steps", _ignore):
        for name in live_shards(folder.names):
            shard = parse_shard_name(name)
            if shard is None:
                continue
            try:
                step = read_footer(folder.path / name).max_step
            except StoreUnreadable:
                continue  # its rows are not shown either
            key = (shard.attempt, folder.rank)
            last[key] = max(last.get(key, -1), -1 if step is None else step)
    return last


def _row(record: Mapping[str, Number]) -> dict[str, Cell]:
    row: dict[str, Cell] = dict(record)
    ended_s = record.get(WALL_TIME)
    row["wall_time"] = None if ended_s is None else _moment(ended_s)
    return row


def _moment(seconds: float) -> datetime | None:
    try:
        return datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, OSError):
        return None


def _ignore(_message: str) -> None:
    """Whoever reads the table repeats the warning."""
