"""Follows a run while it is recorded: judges it again whenever its files have changed.

Between two diagnoses it lists folders and reads one small file; nothing of a shard. While it waits
for a run to begin, it reads the manifests that have changed.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from telemetry.diagnose.finding import Diagnosis, Finding
from telemetry.errors import StoreUnreadable, TelemetryError
from telemetry.format.manifest import Status
from telemetry.format.runs import MANIFEST_NAME, RunRef
from telemetry.store.files.folders import is_real_folder
from telemetry.store.runs.catalog import load_run, run_folders, run_status
from telemetry.store.runs.findings_cache import input_hash
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

Version: TypeAlias = tuple[int, int]  # of a manifest: another one is another file with its own time

# After a diagnosis of 3 s comes a rest of 12: ranks publish at different times, and each shard
# would call for another diagnosis. So it takes a fifth of its time at most.
REST_FACTOR = 4.0


class Change(StrEnum):
    """What became of a finding between two diagnoses."""

    NEW = "new"
    WORSE = "worse"
    OVER = "over"


@dataclass(frozen=True, slots=True, kw_only=True)
class FindingChange:
    """One finding that is new, has become more severe, or is no longer found (as it was last)."""

    change: Change
    finding: Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One diagnosis of a followed run.

    Attributes:
        run: As it was just before.
        diagnosis: What the rules say.
        changes: Against the look before, in the order of the findings; what is over comes last.
        is_last: The run has ended.
    """

    run: Run
    diagnosis: Diagnosis
    changes: tuple[FindingChange, ...]
    is_last: bool


def run_to_follow(
    store: Store, *, waits: Callable[[Run | None], None], pause: Callable[[], None]
) -> Run:
    """The newest run that is being recorded; where none is, the next one that begins.

    A training that is still importing has no folder yet, so the newest run of a store may be one
    that ended long ago. A run that began and ended between two looks at the store counts, and so
    does one that is resumed.

    Args:
        store: Where runs are; its folder may not exist yet.
        waits: Called once before the first pause, with the newest run, which has ended, or None.
        pause: Waits for a moment.
    """
    known = _manifests(store)
    runs = store.runs()
    running = [run for run in runs if run.status is Status.RUNNING]
    if running:
        return running[0]
    waits(runs[0] if runs else None)
    while True:
        pause()
        present = _manifests(store)
        changed = [
            load_run(path) for path, version in present.items() if known.get(path) != version
        ]
        begun = [
            run for run in changed if run.ref.path not in known or run.status is Status.RUNNING
        ]
        if begun:
            return max(begun, key=lambda run: (run.started, run.run))
        known = present


def _manifests(store: Store) -> dict[Path, Version]:
    """The runs of a store, each with the version of its manifest."""
    found = {}
    for path in run_folders(store.path):
        try:
            file = (path / MANIFEST_NAME).stat()
        except OSError:  # the run was deleted since its folder was listed
            continue
        found[path] = file.st_mtime_ns, file.st_ino
    return found


def follow_run(
    ref: RunRef,
    *,
    diagnose: Callable[[Run], Diagnosis],
    pause: Callable[[], None],
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Look]:
    """Looks at a run, each after its files have changed; the last one after it has ended.

    A run that has not taken a step yet is waited for; one whose process has died has ended.

    Args:
        ref: The run.
        diagnose: Judges it.
        pause: Waits for a moment; called whenever there is nothing to do.
        clock: Monotonic seconds.

    Raises:
        StoreUnreadable: the run was deleted meanwhile, or cannot be read.
    """
    known: Diagnosis | None = None
    judged = ""
    rested_s = -float("inf")
    while True:
        has_ended = _status(ref) is not Status.RUNNING
        files = input_hash(ref)  # before judging: what comes meanwhile is judged next time
        if has_ended or (files != judged and clock() >= rested_s):
            began_s = clock()
            look = _look(ref, diagnose, known)
            judged, known = files, look.diagnosis
            rested_s = clock() + REST_FACTOR * (clock() - began_s)
            yield look
            if look.is_last:
                return
        pause()


def changes(before: Diagnosis | None, after: Diagnosis) -> tuple[FindingChange, ...]:
    """What is new, more severe or gone in a diagnosis.

    Numbers, layers and steps of a finding that stays differ with every look and are no news.
    """
    former = {finding.detector: finding for finding in before.findings} if before else {}
    present = {finding.detector for finding in after.findings}
    found = [
        FindingChange(change=change, finding=finding)
        for finding in after.findings
        if (change := _change(former.get(finding.detector), finding)) is not None
    ]
    gone = [
        FindingChange(change=Change.OVER, finding=finding)
        for detector, finding in former.items()
        if detector not in present
    ]
    return (*found, *gone)


def _change(before: Finding | None, after: Finding) -> Change | None:
    if before is None:
        return Change.NEW
    return Change.WORSE if after.severity.rank < before.severity.rank else None


def _look(ref: RunRef, diagnose: Callable[[Run], Diagnosis], known: Diagnosis | None) -> Look:
    run = load_run(ref.path)
    try:
        diagnosis = diagnose(run)
    except TelemetryError:
        _status(ref)  # says so where the reason is that the run was deleted
        raise
    return Look(
        run=run,
        diagnosis=diagnosis,
        changes=changes(known, diagnosis),
        is_last=run.status is not Status.RUNNING,
    )


def _status(ref: RunRef) -> Status:
    if not is_real_folder(ref.path):
        raise StoreUnreadable(f"{ref.path}: the run was deleted while telemetry followed it.")
    return run_status(ref.path)
