"""`diagnose --follow`: what has changed about a run that is being recorded, as it changes."""

import os
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers, render
from telemetry.cli.output.grid import Span, Style
from telemetry.cli.output.render import Screen
from telemetry.cli.output.texts import plural
from telemetry.cli.screens import findings as finding_lines
from telemetry.diagnose.follow import Change, Look, follow_run, run_to_follow
from telemetry.format.manifest import Status
from telemetry.safe_text import clean

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from telemetry.diagnose.finding import Diagnosis, Finding
    from telemetry.json_values import Json
    from telemetry.store.runs.run import Run
    from telemetry.store.store import Store

POLL_INTERVAL_S = 2.0  # a run publishes every 30 s, at its start after 1, 2, 5, 10 and 20 s
ENDS = {
    Status.FINISHED: "has finished",
    Status.FAILED: "has failed",
    Status.KILLED: "was killed",
    Status.UNREADABLE: "cannot be read",
}


def pause() -> None:
    """Wait until the folder is worth another look."""
    time.sleep(POLL_INTERVAL_S)


def newest_run(screen: Screen, store: "Store") -> "Run":
    """The newest run that is being recorded; where there is none, the wait for one is announced."""

    def waits(latest: "Run | None") -> None:
        how_to_stop = "waiting for the next run to start; press Ctrl-C to stop"
        if latest is None:
            screen.tell(f"{store.path} contains no run yet; {how_to_stop}.")
            return
        how = ENDS.get(latest.status, f"is {latest.status}")
        screen.tell(
            f"the latest run, {latest.name} ({latest.short}), {how}; {how_to_stop}. `telemetry "
            f"diagnose {latest.short}` diagnoses the latest run."
        )

    return run_to_follow(store, waits=waits, pause=pause)


def show_run(screen: Screen, run: "Run") -> None:
    """The first line: which run this is about."""
    screen.line(
        Span(run.name, Style.STRONG),
        run.short,
        Span(f"{run.status}, started {run.started[:19]} UTC", Style.FAINT),
    )
    sys.stdout.flush()


class StatusLine:
    """The last line of a terminal, written over and over; nothing where nobody sees it."""

    def __init__(self, screen: Screen, run: "Run") -> None:
        is_seen = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        self._shows = screen.for_people and is_seen
        self._name = clean(run.name)
        self._seen: Diagnosis | None = None
        self._seen_s = 0.0

    def saw(self, diagnosis: "Diagnosis") -> None:
        """What the line says from now on."""
        self._seen, self._seen_s = diagnosis, time.monotonic()

    def wait(self) -> None:
        """Show the line for as long as the next look at the folder is due."""
        if self._shows:
            render.write_over(self._text())
        pause()

    def clear(self) -> None:
        """Make room for a result."""
        if self._shows:
            render.write_over("")

    def _text(self) -> str:
        seen = self._seen
        if seen is None or seen.n_steps == 0:
            return f"{self._name}: waiting for its first step; Ctrl-C stops"
        n_findings = plural(len(seen.findings), "finding")
        age = numbers.age(time.monotonic() - self._seen_s)
        return (
            f"{self._name}: {numbers.count(seen.n_steps)} steps, {seen.state}, {n_findings}, "
            f"diagnosed {age} ago; Ctrl-C stops"
        )


def show_changes(
    screen: Screen, look: Look, show_findings: "Callable[[Sequence[Finding]], None]"
) -> None:
    """A line that says when and what, then the findings; of those that are over, their heads.

    Args:
        screen: Where to.
        look: Of a followed run.
        show_findings: Shows findings as `diagnose` does.
    """
    shown = {entry.finding.detector for entry in look.changes}
    groups: dict[tuple[Change, str], list[Finding]] = {}
    for entry in look.changes:
        cause = entry.finding.consequence_of or ""
        # Of a cause that was told before, the head would be far above its consequence.
        key = entry.change, cause if cause not in shown else ""
        groups.setdefault(key, []).append(entry.finding)
    for (change, cause), findings in groups.items():
        because = f", a consequence of {cause}" if cause else ""
        screen.line(*_when(look.diagnosis), Span(f"{change}{because}", Style.STRONG, piped=change))
        if change is Change.OVER:
            for head in finding_lines.heads(findings):
                screen.line(*head)
        else:
            show_findings(findings)


def show_end(screen: Screen, look: Look, summary: Span) -> None:
    """Say that the run has ended, and what was found."""
    how = ENDS.get(look.run.status, f"is {look.run.status}")
    screen.line(*_when(look.diagnosis), Span(f"the run {how}", Style.STRONG), summary)


def document(look: Look) -> "dict[str, Json]":
    """What `--follow --json` adds to the document of a diagnosis."""
    changes: list[Json] = [
        {
            "change": entry.change,
            "detector": entry.finding.detector,
            "severity": entry.finding.severity,
        }
        for entry in look.changes
    ]
    return {"follow": {"time": _utc(), "is_last": look.is_last, "changes": changes}}


def looks(screen: Screen, run: "Run", diagnose: "Callable[[Run], Diagnosis]") -> Iterator[Look]:
    """The looks at a run, with a status line between them that makes room for what is shown."""
    line = StatusLine(screen, run)
    try:
        for look in follow_run(run.ref, diagnose=diagnose, pause=line.wait):
            line.clear()
            line.saw(look.diagnosis)
            yield look
            sys.stdout.flush()  # who reads a pipe learns of it now
    finally:
        line.clear()  # also when it was Ctrl-C that ended it


def _when(diagnosis: "Diagnosis") -> tuple[Span, Span]:
    """The time of day, and how many steps were judged."""
    return (
        Span(f"{datetime.now(UTC).astimezone():%H:%M:%S}", Style.FAINT, piped=_utc()),
        Span(f"{numbers.count(diagnosis.n_steps)} steps", Style.FAINT),
    )


def _utc() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
