"""Where a recording goes on: what earlier attempts have left on the disk or in a checkpoint."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.flight_ring import SIZE_LIMIT_BYTES, Ring, parse_ring, parse_ring_name
from telemetry.format.regular_files import read_regular
from telemetry.format.runs import parse_shard_name
from telemetry.format.shards import listed_shards, read_footer, read_shard, table_folder

VERSION = 1  # of a state
COLUMNS = ("step", "samples", "elapsed_s", "overhead_s", "epoch")
STEP, SAMPLES, ELAPSED_S, OVERHEAD_S, EPOCH = range(len(COLUMNS))

State: TypeAlias = dict[str, int | float | str]
Rows: TypeAlias = npt.NDArray[np.float64]  # (n, 5): COLUMNS, NaN where unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class Continuation:
    """What was recorded before.

    Attributes:
        step: The next optimizer step; what earlier attempts recorded from it on is superseded.
        samples: Examples that training forwards have seen before it.
        epochs: Passes over the training's DataLoader that were over; the next one is the pass of
            this number, whether it begins or was interrupted.
        elapsed_s: Seconds for which the run had been recorded.
        cost_s: Seconds of the training thread that recording had taken.
        cadence: Steps between samples; 0: unknown.
    """

    step: int = 0
    samples: int = 0
    epochs: int = 0
    elapsed_s: float = 0.0
    cost_s: float = 0.0
    cadence: int = 0


BEGINNING = Continuation()


def state_of(run: str, reached: Continuation) -> State:
    """A run and how far it came, as plain values for a checkpoint."""
    return {"version": VERSION, "run": run, **asdict(reached)}


def parse_state(state: Mapping[str, object]) -> tuple[str, Continuation]:
    """The run of a state, and where it goes on.

    Raises:
        UsageError: it is not what `state_dict()` of this or an earlier version returned.
    """
    version, run = state.get("version"), state.get("run")
    if not isinstance(version, int) or not isinstance(run, str):
        raise UsageError("the state was not returned by TelemetryCallback.state_dict().")
    if version > VERSION:
        raise UsageError(
            f"the state has version {version}, but this telemetry reads version {VERSION}: upgrade "
            "training-telemetry, or do not load the state."
        )
    return run, Continuation(
        step=int(_number(state, "step")),
        samples=int(_number(state, "samples")),
        epochs=int(_number(state, "epochs")),
        elapsed_s=_number(state, "elapsed_s"),
        cost_s=_number(state, "cost_s"),
        cadence=int(_number(state, "cadence")),
    )


def recorded_before(
    run: Path, starts: Mapping[int, int], *, rank: int, attempt: int
) -> Continuation:
    """What the earlier attempts of a run have left on the disk.

    All ranks go on at the step after the last one of rank 0; the rest is a rank's own.

    Args:
        run: The run folder.
        starts: First step by attempt, as far as the manifest knows them.
        rank: Rank of this process.
        attempt: Attempt of this process.
    """
    leading = _live_rows(run, starts, rank=0, attempt=attempt)
    if not len(leading):
        return BEGINNING
    step = int(leading[:, STEP].max()) + 1
    rows = leading if rank == 0 else _live_rows(run, starts, rank=rank, attempt=attempt)
    rows = rows[rows[:, STEP] < step]
    if not len(rows):
        return Continuation(step=step)
    return Continuation(
        step=step,
        samples=int(np.nansum(rows[:, SAMPLES])),
        epochs=int(np.nanmax(rows[:, EPOCH], initial=0)),
        elapsed_s=float(np.nanmax(rows[:, ELAPSED_S], initial=0.0)),
        cost_s=float(np.nansum(rows[:, OVERHEAD_S])),
    )


def _number(state: Mapping[str, object], key: str) -> float:
    value = state.get(key)
    if not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise UsageError(f"the state has {key} {value!r}, expected a number that is not negative.")
    return value


def _live_rows(run: Path, starts: Mapping[int, int], *, rank: int, attempt: int) -> Rows:
    """Steps of earlier attempts without those that a later one repeated."""
    by_attempt = _rows_by_attempt(run, rank, attempt)
    limit = np.inf
    live: list[Rows] = []
    for number in sorted({*by_attempt, *(one for one in starts if one < attempt)}, reverse=True):
        rows = by_attempt.get(number, np.empty((0, len(COLUMNS))))
        live.append(rows[rows[:, STEP] < limit])
        first = float(rows[:, STEP].min(initial=np.inf))
        limit = min(limit, first, starts.get(number, np.inf))
    return np.concatenate([*live, np.empty((0, len(COLUMNS)))])


def _rows_by_attempt(run: Path, rank: int, attempt: int) -> dict[int, Rows]:
    """Of shards; after their last step, of the flight recorder."""
    found: dict[int, list[Rows]] = {}
    for path in listed_shards(table_folder(run, "steps", rank)):
        shard = parse_shard_name(path.name)
        if shard is not None and 0 < shard.attempt < attempt:
            rows = _shard_rows(path)
            if rows is not None:
                found.setdefault(shard.attempt, []).append(rows)
    for ring in _rings(run, rank, attempt):
        written = max((rows[:, STEP].max() for rows in found.get(ring.attempt, ())), default=-1)
        rows = _ring_rows(ring)
        found.setdefault(ring.attempt, []).append(rows[rows[:, STEP] > written])
    return {number: np.concatenate(rows) for number, rows in found.items()}


def _shard_rows(path: Path) -> Rows | None:
    try:
        known = [name for name in COLUMNS if name in read_footer(path).columns]
        table = read_shard(path, known)
    except StoreUnreadable:
        return None  # the query half names it
    if not table.num_rows:
        return None
    rows = np.full((table.num_rows, len(COLUMNS)), np.nan)  # an older version has fewer columns
    for name in known:
        rows[:, COLUMNS.index(name)] = table.column(name).to_numpy()
    return rows


def _rings(run: Path, rank: int, attempt: int) -> Iterator[Ring]:
    for path in run.glob(".flight-*"):
        place = parse_ring_name(path.name)
        if place is None or place[1] != rank or place[0] >= attempt or path.is_symlink():
            continue
        try:
            yield parse_ring(read_regular(path, limit_bytes=SIZE_LIMIT_BYTES))
        except (OSError, StoreUnreadable):
            continue


def _ring_rows(ring: Ring) -> Rows:
    rows = [
        (step, *(np.nan if (value := record.get(name)) is None else value for name in COLUMNS[1:]))
        for step, record in ring.records.items()
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS))
