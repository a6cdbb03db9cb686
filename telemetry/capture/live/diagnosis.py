"""Judges a run while it is recorded: a child process after a flush, its findings to the training.

Lives on the writer thread. Reads no clock: the time is an argument.
"""

import importlib.util
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from telemetry.capture.live.child import Child, Ended
from telemetry.errors import StoreUnreadable
from telemetry.format.live_findings import LiveFindings, read_findings

logger = logging.getLogger(__name__)

TIMEOUT_S = 300.0  # of one diagnosis; beside a training that takes all cores it has a tenth of one
FAILURES_LIMIT = 3  # in a row
# Before, a run has too few samples. What is found then has shown three times as long by the flush
# after ten seconds, and is told: a rate of 1.0 within 15 seconds where cores are free.
FIRST_LOOK_S = 2.0
SPREAD_FACTOR = 2.0  # the allowance is spent on looks each twice as late as the one before

# One thread: a pool in the child would only be in the way of the training's.
CHILD_VARIABLES = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


@dataclass(slots=True, kw_only=True)
class LookBudget:
    """Keeps the processor time of diagnoses to max(allowance, share x elapsed) of each core.

    A diagnosis is another process of low priority: what it takes is a share of all cores that the
    training may use, not of its thread.

    Attributes:
        share: Of the elapsed time of each core; None: no limit.
        allowance_s: Seconds of each core that diagnoses may take in any case.
        n_cores: That the process may use.
        spent_s: Processor time of all diagnoses so far.
        cost_s: Of the last one.
        last_s: When the last one began, in seconds since recording began; None: there was none.
    """

    share: float | None
    allowance_s: float
    n_cores: int
    spent_s: float = 0.0
    cost_s: float = 0.0
    last_s: float | None = None

    def allows(self, elapsed_s: float) -> bool:
        """Whether a diagnosis may begin now, if it costs what the last one has cost."""
        if self.share is None:
            return True
        if self.last_s is None:
            return elapsed_s >= FIRST_LOOK_S
        gap_s = elapsed_s - self.last_s
        if self.cost_s <= self.share * self.n_cores * gap_s:
            return True
        fits = self.spent_s + self.cost_s <= self.allowance_s * self.n_cores
        return fits and elapsed_s >= SPREAD_FACTOR * self.last_s

    def began(self, elapsed_s: float) -> None:
        """A diagnosis has begun."""
        self.last_s = elapsed_s

    def charge(self, cpu_s: float) -> None:
        """It has ended."""
        self.cost_s = cpu_s
        self.spent_s += cpu_s


class LiveDiagnosis:
    """At most one diagnosis at a time, each of a run that has written since the last one.

    Args:
        run: Folder of the run.
        findings: File in it by which the child answers.
        budget: What all of them may cost.
        deliver: Told what each has found.
        give_up: Told once why the run is judged no more.
        started_s: Time from which the budget counts.
        start: Starts a child.
    """

    def __init__(
        self,
        run: Path,
        findings: Path,
        *,
        budget: LookBudget,
        deliver: Callable[[LiveFindings], None],
        give_up: Callable[[str], None],
        started_s: float,
        start: Callable[[Sequence[str]], Child] | None = None,
    ) -> None:
        self._command = [
            *(sys.executable, "-m", "telemetry.diagnose", str(run)),
            *("--live", str(findings)),
        ]
        self._file = findings
        self._budget = budget
        self._deliver = deliver
        self._give_up = give_up
        self._started_s = started_s
        self._start = start or start_child
        self._child: Child | None = None
        self._child_began_s = 0.0
        self._n_judged = 0  # shards that were there when the last one began
        self._n_alarms = 0
        self._n_failures = 0
        self._is_over = False

    def turn(self, now_s: float, *, n_shards: int, n_alarms: int) -> None:
        """Take the result of a diagnosis that has ended; begin another where there is news.

        Args:
            now_s: Time.
            n_shards: Shards written so far.
            n_alarms: How often a loss or norm that is not finite had everything written at once.
                The first time counts whatever it costs: the training is about to be lost.
        """
        if self._is_over:
            return
        if self._child is not None:
            self._look_after(self._child, now_s)
        elapsed_s = now_s - self._started_s
        is_urgent = n_alarms > self._n_alarms == 0
        allowed = is_urgent or self._budget.allows(elapsed_s)
        if self._child is None and not self._is_over and n_shards > self._n_judged and allowed:
            self._n_judged, self._n_alarms = n_shards, n_alarms
            self._budget.began(elapsed_s)
            self._begin(now_s)

    def close(self) -> None:
        """End what is going on; its result is of no interest any more."""
        self._is_over = True
        if self._child is not None:
            self._child.kill()
            self._child = None
        self._file.unlink(missing_ok=True)

    def _begin(self, now_s: float) -> None:
        try:
            self._child = self._start(self._command)
        except OSError as error:
            self._failed(error.strerror or str(error))
        self._child_began_s = now_s

    def _look_after(self, child: Child, now_s: float) -> None:
        took_s = now_s - self._child_began_s
        ended = child.poll()
        if ended is None and took_s < TIMEOUT_S:
            return
        self._child = None
        if ended is None:
            child.kill()
            self._budget.charge(took_s)
            self._failed(f"it took longer than {TIMEOUT_S:g} s")
            return
        self._budget.charge(took_s if ended.cpu_s is None else ended.cpu_s)
        self._take_result(ended)

    def _take_result(self, ended: Ended) -> None:
        if ended.code:
            self._failed(f"exit code {ended.code}")
            return
        try:
            found = read_findings(self._file)
        except StoreUnreadable as error:
            self._failed(str(error))
            return
        self._n_failures = 0
        self._deliver(found)

    def _failed(self, reason: str) -> None:
        logger.debug("a diagnosis of the running run failed: %s", reason)
        self._n_failures += 1
        if self._n_failures >= FAILURES_LIMIT:
            self._is_over = True
            self._give_up(
                f"{FAILURES_LIMIT} diagnoses in a row failed ({reason}); run `telemetry "
                "diagnose` on this run to see why"
            )


def start_child(command: Sequence[str]) -> Child:
    """Start a diagnosis.

    Raises:
        OSError: it cannot be started.
    """
    return Child(command, {**os.environ, **CHILD_VARIABLES})


def why_impossible() -> str | None:
    """What is missing here to judge a run while it is recorded."""
    if importlib.util.find_spec("duckdb") is None:
        return "duckdb is not installed"
    if not sys.executable:
        return "this program is not a Python interpreter that can be started again"
    if not hasattr(os, "posix_spawn"):
        return "this system cannot start a process without fork()"
    return None


def core_count() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
