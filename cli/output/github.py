"""A comparison as GitHub shows it: annotations of the job, written as workflow commands.

Source: GitHub Actions, "Workflow commands"; the escapes are those of actions/toolkit, command.ts.
"""

import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

from telemetry.compare.diff.result import Diff
from telemetry.compare.terms import Verdict
from telemetry.diagnose.finding import Severity
from telemetry.safe_text import clean

SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"
MOST_FINDINGS = 5  # GitHub shows ten annotations of a step
MESSAGE_ESCAPES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
TITLE_ESCAPES = {**MESSAGE_ESCAPES, ":": "%3A", ",": "%2C"}


class Level(StrEnum):
    """How GitHub marks an annotation."""

    ERROR = "error"
    WARNING = "warning"
    NOTICE = "notice"


def annotations(diff: Diff, *, fails: bool) -> Iterator[str]:
    """The verdict, other metrics that are worse, and findings that are new.

    Args:
        diff: The comparison.
        fails: Whether the verdict ends the job with an exit code.
    """
    doubtful = diff.verdict in {Verdict.REGRESSION, Verdict.INCONCLUSIVE}
    level = Level.ERROR if fails else Level.WARNING if doubtful else Level.NOTICE
    yield annotation(level, f"telemetry diff: {diff.verdict.replace('_', ' ')}", diff.reason)
    for metric in diff.metrics[1:]:
        if metric.verdict is Verdict.REGRESSION:
            yield annotation(
                Level.WARNING,
                f"{metric.name} is worse",
                f"{metric.reason} This does not affect the verdict.",
            )
    serious = [found for found in diff.new_findings if found.severity is not Severity.INFO]
    for finding in serious[:MOST_FINDINGS]:
        yield annotation(Level.WARNING, f"new: {finding.detector}", finding.message)


def annotation(level: Level, title: str, message: str) -> str:
    """One workflow command, `::error title=...::message`, on one line whatever the texts hold."""
    return f"::{level} title={_escaped(title, TITLE_ESCAPES)}::{_escaped(message, MESSAGE_ESCAPES)}"


def step_summary() -> Path | None:
    """The file that GitHub shows as the summary of the job; None outside a job."""
    path = os.environ.get(SUMMARY_VARIABLE)
    return Path(path) if path else None


def _escaped(text: str, escapes: dict[str, str]) -> str:
    return "".join(escapes.get(character, character) for character in clean(text))
