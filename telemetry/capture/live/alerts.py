"""Findings about the running training on their way to it: from the writer thread to its own.

What is to be done about them is done at the boundary of a step, where nothing is half done.
"""

import sys
import warnings
from collections import deque
from pathlib import Path

from telemetry.capture.isolation.guard import Guard, guarded
from telemetry.capture.isolation.torch_state import in_backward
from telemetry.capture.steps.options import OnFinding
from telemetry.errors import TrainingStopped
from telemetry.finding import Finding, Severity
from telemetry.format.live_findings import LiveFindings

# A policy gradient that learns in the end (benchmarks/faults, X24) is found to blow up from step 60
# to step 120. A healthy training that is stopped is worse than a faulty one that goes on.
LASTING_FACTOR = 3
PACKAGE = str(Path(__file__).parents[2])


class FindingNews:
    """Errors and warnings that the training was not told yet.

    Args:
        run: Short id of the run.
        on_finding: What to do about each; None: nobody asks.
        guard: Contains what a function of the user raises.

    Attributes:
        waiting: Findings to be told, oldest first.
    """

    def __init__(self, run: str, on_finding: OnFinding | None, guard: Guard) -> None:
        self._run = run
        self._guard = guard
        self._on_finding = on_finding
        self._told: dict[str, Severity] = {}
        self._known: dict[str, Finding] = {}  # of the last diagnosis, by detector
        self._n_steps = 0  # that it had seen
        self._since: dict[tuple[str, Severity], int] = {}  # steps when it was found first
        self.waiting: deque[Finding] = deque()

    @property
    def is_wanted(self) -> bool:
        """Whether somebody asks."""
        return self._on_finding is not None

    @property
    def problems(self) -> tuple[int, int] | None:
        """Causes that the last diagnosis has found, and the steps that it had seen; None: none."""
        causes = [
            finding
            for finding in self._known.values()
            if finding.consequence_of is None and finding.severity is not Severity.INFO
        ]
        return (len(causes), self._n_steps) if causes else None

    def post(self, found: LiveFindings) -> None:
        """Keep what is to be told and was not, or not as severe; called by the writer thread.

        Args:
            found: All that one diagnosis has found.
        """
        self._known = {finding.detector: finding for finding in found.findings}
        self._n_steps = found.n_steps
        seen = {(finding.detector, finding.severity): finding for finding in found.findings}
        self._since = {key: self._since.get(key, found.n_steps) for key in seen}
        for key, finding in seen.items():
            told = self._told.get(finding.detector)
            is_news = told is None or finding.severity.rank < told.rank
            if is_news and finding.severity is not Severity.INFO:
                is_exact = finding.detector in found.exact
                if is_exact or lasts(finding, since=self._since[key], n_steps=found.n_steps):
                    self._told[finding.detector] = finding.severity
                    self.waiting.append(finding)

    @guarded("on_finding")
    def tell(self) -> None:
        """Tell what waits; called by the training between two steps.

        Not from within a backward pass, where a step may end as well: then with the next that ends
        outside of one.

        Raises:
            TrainingStopped: the training is to end.
        """
        while self.waiting and not in_backward():
            self._act(self.waiting.popleft())

    def close(self) -> None:
        """Nobody is told any more."""
        self._on_finding = None
        self.waiting.clear()

    def _act(self, finding: Finding) -> None:
        if self._on_finding == "stop":
            if finding.severity is Severity.ERROR:
                self.waiting.clear()
                raise TrainingStopped(finding, self._text(finding))
        elif self._on_finding == "warn":
            _warn(f"telemetry: {self._text(finding)}")
        elif self._on_finding is not None:
            with self._guard.meter.paused():
                self._on_finding(finding)

    def _text(self, finding: Finding) -> str:
        """For people: what, where, since when, why, and what to do."""
        parts = [_described(finding)]
        cause = self._known.get(finding.consequence_of or "")
        if cause is not None:
            parts += [f"It follows from {_described(cause)}"]
        parts += [(cause or finding).advice, f"More: telemetry diagnose {self._run}"]
        return " ".join(f"{part.rstrip('.')}." for part in parts[:-1] if part) + f" {parts[-1]}"


def lasts(finding: Finding, *, since: int, n_steps: int) -> bool:
    """Whether a finding shows for three times as long as when it was found first.

    What is found of a beginning may be a beginning only: most rules ask whether a run learns, and
    some runs learn late.

    Args:
        finding: Found again.
        since: Number of steps when it was found first.
        n_steps: Number of steps now.
    """
    first = finding.first_step or 0
    return n_steps - first >= LASTING_FACTOR * max(since - first, 1)


def _described(finding: Finding) -> str:
    where = f" in {finding.layer}" if finding.layer else ""
    since = "" if finding.first_step is None else f" since step {finding.first_step}"
    return f"{finding.severity} {finding.detector}{where}{since}: {finding.message}"


def _warn(text: str) -> None:
    """A warning at the line of the training's own loop that came here."""
    frame = sys._getframe()  # noqa: SLF001 - skip_file_prefixes is of Python 3.12
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        frame = frame.f_back
    warnings.warn_explicit(text, UserWarning, frame.f_code.co_filename, frame.f_lineno)
