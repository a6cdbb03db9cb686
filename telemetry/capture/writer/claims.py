"""Who may write a run: one process per rank and attempt, by exclusive creation of a claim file.

`.attempt-<n>.rank-<r>` holds the identity of its process. It is rewritten when the run is closed.
"""

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from telemetry import json_values
from telemetry.errors import CaptureError, StoreUnreadable
from telemetry.format.manifest import (
    HEARTBEAT_INTERVAL_S,
    KILLED_AFTER_INTERVALS,
    Manifest,
    publish_json,
    read_manifest,
)
from telemetry.format.regular_files import read_regular
from telemetry.format.runs import (
    MANIFEST_NAME,
    RunRef,
    claim_name,
    new_run_id,
    parse_claim_name,
    remove_quietly,
    run_folder,
    write_synced,
)
from telemetry.processes import ProcessIdentity, is_running, this_process

logger = logging.getLogger(__name__)

HEARTBEAT_LIMIT_S = KILLED_AFTER_INTERVALS * HEARTBEAT_INTERVAL_S
CLAIM_BYTES = 64 * 1024  # largest
RACE_LIMIT = 50  # processes that may claim at the same moment
ID_STEM_LENGTH = 75  # leaves room for the number of a conflict within the 80 characters of an id


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """The right to write one attempt of one run as one rank.

    Attributes:
        ref: The run.
        rank: Rank of this process.
        attempt: From 1.
        owner: This process.
        previous: The manifest that earlier attempts left.
        conflict_of: The id that was asked for and is being written by another process.
    """

    ref: RunRef
    rank: int
    attempt: int
    owner: ProcessIdentity
    previous: Manifest | None = None
    conflict_of: str | None = None

    @property
    def path(self) -> Path:
        """The claim file."""
        return self.ref.path / claim_name(self.attempt, self.rank)

    def end(self) -> None:
        """Say that this process is done with the run: the next attempt need not wait for its end.

        Raises:
            OSError: the disk refuses.
        """
        publish_json(self.path, {**asdict(self.owner), "ended": True})


def rank_manifest_name(rank: int) -> str:
    """What a rank writes at every heartbeat."""
    return MANIFEST_NAME if rank == 0 else f"rank-{rank}.json"


def claim_run(store: Path, project: str, run: str | None, *, rank: int, strict: bool) -> Claim:
    """A new run, or the next attempt of the run with that id.

    A run that another process is writing, or whose manifest cannot be read, is left alone: the
    new one is called `<id>.2` (one warning).

    Args:
        store: Folder of the store; created when missing.
        project: Free text.
        run: Its id; None for a new one.
        rank: Rank of this process.
        strict: Raise instead of taking another id.

    Raises:
        CaptureError: the folder cannot be created or written; with strict, also when the run is
            taken.
        UsageError: the id could not be a folder's name.
    """
    for candidate in _candidates(run):
        path = run_folder(store, project, candidate)
        ref = RunRef(project=project, run=candidate, path=path)
        try:
            claim = _claim(ref, rank, conflict_of=run if candidate != run else None)
        except OSError as error:
            raise CaptureError(
                f"{path}: the run folder cannot be written ({error.strerror or error}); pass "
                "store=... or set TELEMETRY_STORE to a writable folder."
            ) from error
        if isinstance(claim, Claim):
            return claim
        if strict:
            raise CaptureError(f"{path}: {claim}; pass another id, or none.")
        if candidate == run:
            logger.warning("run %s: %s; recording under another id", run, claim)
    raise AssertionError


def is_free(folder: Path, rank: int, manifest: Manifest) -> bool:
    """Whether this rank could claim an attempt of a run: no living process of it writes there."""
    return _next_attempt(folder, rank, manifest) is not None


def _candidates(run: str | None) -> Iterator[str]:
    """Ids to try: the one asked for, then `<id>.2`, `<id>.3`, …."""
    if run is not None:
        yield run
    number = 2
    while True:
        if run is None:
            yield new_run_id(datetime.now(UTC))
        else:
            yield f"{run[:ID_STEM_LENGTH]}.{number}"
            number += 1


def _claim(ref: RunRef, rank: int, *, conflict_of: str | None) -> Claim | str:
    """The claim, or why the run must be left alone."""
    if ref.path.is_symlink():
        return "its folder is a link"
    ref.path.mkdir(parents=True, exist_ok=True)
    try:
        previous = read_manifest(ref.path) if (ref.path / MANIFEST_NAME).exists() else None
    except StoreUnreadable as error:
        return f"its manifest is unreadable ({error})"
    owner = this_process()
    content = json_values.dumps({**asdict(owner), "ended": False}).encode()
    for _ in range(RACE_LIMIT):
        attempt = _next_attempt(ref.path, rank, previous)
        if attempt is None or (conflict_of is not None and attempt > 1):
            return "another process is writing it"
        claim = Claim(
            ref=ref,
            rank=rank,
            attempt=attempt,
            owner=owner,
            previous=previous,
            conflict_of=conflict_of,
        )
        try:
            write_synced(claim.path, content)
        except FileExistsError:
            continue
        except OSError:
            remove_quietly(claim.path)
            raise
        return claim
    return "too many processes claim it at once"


def _next_attempt(folder: Path, rank: int, previous: Manifest | None) -> int | None:
    """The attempt this rank may claim; None while a living process holds it.

    Ranks of one training share an attempt, whichever comes first: a rank joins the latest attempt
    unless it is in it already, or everybody in it is gone.
    """
    claims = _claims(folder)
    recorded = max((a.attempt for a in previous.attempts), default=0) if previous else 0
    latest = max(claims, default=0)
    if recorded > latest or not claims:
        return recorded + 1
    holders = claims[latest]
    if rank in holders:
        return None if _is_held(holders[rank], folder, rank) else latest + 1
    joins = any(_is_held(path, folder, other) for other, path in holders.items())
    return latest if joins else latest + 1


def _claims(folder: Path) -> dict[int, dict[int, Path]]:
    """Claim files by attempt and rank."""
    found: dict[int, dict[int, Path]] = {}
    for path in folder.iterdir():
        place = parse_claim_name(path.name)
        if place is not None:
            attempt, rank = place
            found.setdefault(attempt, {})[rank] = path
    return found


def _is_held(path: Path, folder: Path, rank: int) -> bool:
    """Whether the process of a claim still writes; of another host, by its heartbeat."""
    try:
        raw = json.loads(read_regular(path, limit_bytes=CLAIM_BYTES))
        owner = ProcessIdentity(
            host=str(raw["host"]),
            boot_id=str(raw["boot_id"]),
            pid=int(raw["pid"]),
            process_start=int(raw["process_start"]),
        )
        ended = raw["ended"] is True
    except (OSError, ValueError, TypeError, KeyError):
        # Between creation and writing; or torn by a crash, and then it grows old.
        return _age_s(path) < HEARTBEAT_LIMIT_S
    if ended:
        return False
    running = is_running(owner)
    if running is None:
        files = (path, folder / rank_manifest_name(rank))
        return min(_age_s(file) for file in files) < HEARTBEAT_LIMIT_S
    return running


def _age_s(path: Path) -> float:
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return float("inf")
