"""Follows a run while it is recorded: judges it again whenever its files have changed.

Between two diagnoses it lists folders and reads one small file; nothing of a shard.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from telemetry.diagnose.finding import Diagnosis, Finding
from telemetry.errors import StoreUnreadable, TelemetryError
from telemetry.manifest import Status
from telemetry.runs import RunRef
from telemetry.store.catalog import Run, load_run, run_status
from telemetry.store.findings_cache import input_hash
from telemetry.store.folders import is_real_folder

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
        raise StoreUnreadable(f"{ref.path}: the run was deleted while it was followed.")
    return run_status(ref.path)
