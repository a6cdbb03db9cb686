"""Watches a run: reads it again when its files have changed, and never costs more than its share.

A look at a run of ten thousand steps takes a tenth of a second of processor time, its diagnosis
half a second. After each comes a rest that keeps both to a hundredth of a core; between two of
them a tick lists folders and reads one small file.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from telemetry.compare.plot.plot import MOST_RUNS
from telemetry.compare.watch.sight import Sight, read_sight
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Diagnosis
from telemetry.diagnose.follow import Change, changes
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.manifest import Status
from telemetry.format.runs import RunRef
from telemetry.store.files.folders import is_real_folder
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.findings_cache import input_hash
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

LOOK_SHARE, DIAGNOSIS_SHARE = 0.01, 0.01  # of one core
LEAST_REST_S = 2.0

Clock = Callable[[], float]


@dataclass(slots=True, kw_only=True)
class Pace:
    """When something that costs processor time may be done again."""

    share: float
    clock: Clock
    spent: Clock
    due_s: float = -float("inf")

    def is_due(self) -> bool:
        """Whether its rest is over."""
        return self.clock() >= self.due_s

    def did(self, since_spent_s: float) -> None:
        """It was done, and the processor's clock stood so when it began."""
        cost_s = self.spent() - since_spent_s
        self.due_s = self.clock() + max(LEAST_REST_S, cost_s / self.share)


class RunWatch:
    """One run that is watched.

    Args:
        store: Where it is.
        ref: Which one.
        diagnose: Judges it; called again at its pace while it is recorded, and once at its end.
        clock: Monotonic seconds.
        spent: Seconds of processor time of this process.
    """

    def __init__(
        self,
        store: Store,
        ref: RunRef,
        *,
        diagnose: Callable[[Run], Diagnosis],
        clock: Clock = time.monotonic,
        spent: Clock = time.process_time,
    ) -> None:
        self._store, self._ref, self._diagnose, self._spent = store, ref, diagnose, spent
        self._looks = Pace(share=LOOK_SHARE, clock=clock, spent=spent)
        self._diagnoses = Pace(share=DIAGNOSIS_SHARE, clock=clock, spent=spent)
        self._read, self._judged = "", ""
        self._status: Status | None = None
        self._sight: Sight | None = None

    @property
    def sight(self) -> Sight | None:
        """The last look; None before the first."""
        return self._sight

    def look(self) -> Sight | None:
        """The run as it is now; None where nothing has changed or its rest is not over.

        Raises:
            StoreUnreadable: the run was deleted, or cannot be read.
        """
        run = self._run()
        files = input_hash(self._ref)
        has_news = files != self._read or run.status is not self._status
        if not has_news or not (self._looks.is_due() or run.status is not Status.RUNNING):
            return None
        began_s = self._spent()
        seen = read_sight(self._store, run)
        before = self._sight
        if before is not None:
            seen = replace(seen, diagnosis=before.diagnosis, fresh=before.fresh)
        self._looks.did(began_s)
        self._read, self._status, self._sight = files, run.status, seen
        return seen

    def judge(self) -> Sight | None:
        """The last look with a new diagnosis; None where the one that it has still holds.

        Raises:
            StoreUnreadable: the run was deleted, or cannot be read.
        """
        seen = self._sight
        if seen is None or seen.run.steps == 0 or self._judged == self._state():
            return None
        if seen.run.status is Status.RUNNING and not self._diagnoses.is_due():
            return None
        began_s = self._spent()
        state, diagnosis = self._state(), self._diagnose(seen.run)
        self._diagnoses.did(began_s)
        self._judged, self._sight = state, with_diagnosis(seen, diagnosis)
        return self._sight

    def hurry(self) -> None:
        """Look and judge the next time they are asked for, if anything has changed."""
        self._looks.due_s = self._diagnoses.due_s = -float("inf")

    def _state(self) -> str:
        return f"{self._read} {self._status}"

    def _run(self) -> Run:
        if not is_real_folder(self._ref.path):
            raise StoreUnreadable(f"{self._ref.path}: the run was deleted while it was watched.")
        return load_run(self._ref.path)


def with_diagnosis(seen: Sight, diagnosis: Diagnosis) -> Sight:
    """A look whose findings are those of a diagnosis; what is new to it is fresh."""
    before = seen.diagnosis
    present = {finding.detector for finding in diagnosis.findings}
    fresh = set(seen.fresh)
    if before is not None:
        fresh |= {
            entry.finding.detector
            for entry in changes(before, diagnosis)
            if entry.change is not Change.OVER
        }
    return replace(seen, diagnosis=diagnosis, fresh=frozenset(fresh & present))


def watch_runs(
    store: Store, runs: Sequence[Run], *, diagnose: Callable[[Run], Diagnosis] | None = None
) -> tuple[RunWatch, ...]:
    """Watches of runs, each to be asked for a `look` and a `judge` once a second or so.

    Args:
        store: Where the runs are.
        runs: At most twenty.
        diagnose: Judges a run; the default is what `diagnose_run` says by the default policy.

    Raises:
        UsageError: too many runs.
    """
    if len(runs) > MOST_RUNS:
        raise UsageError(f"{len(runs)} runs are too many to watch; choose at most {MOST_RUNS}.")
    judge = diagnose or partial(diagnose_run, store)
    return tuple(RunWatch(store, run.ref, diagnose=judge) for run in runs)
