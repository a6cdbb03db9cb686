"""Which runs a list shows, and in which order: as its address says."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from enum import StrEnum

from telemetry.cli.sorting import sorted_runs
from telemetry.errors import UsageError
from telemetry.json_values import Json, json_integer
from telemetry.store.runs.run import Run
from telemetry.store.runs.select import filter_runs

BY_FINDINGS = "findings"
Counts = Callable[[Run], Mapping[str, Json] | None]


class Found(StrEnum):
    """What was found in a run."""

    ERROR = "error"
    PROBLEM = "problem"
    NOTHING = "nothing"
    UNKNOWN = "unknown"


FOUND_TEXTS = {
    Found.ERROR: "errors",
    Found.PROBLEM: "errors or warnings",
    Found.NOTHING: "no error, no warning",
    Found.UNKNOWN: "not diagnosed yet",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is asked of a list; '' where anything will do.

    Attributes:
        project: Its name, or a pattern.
        status: One of `Status`.
        tag: That a run has.
        found: One of `Found`.
        text: Part of a name, id, project, tag or setting of a run, in any case.
        sort: `findings`, or what `telemetry runs --sort` takes.
        all: Anything: as many as there are, instead of the first.
    """

    project: str = ""
    status: str = ""
    tag: str = ""
    found: str = ""
    text: str = ""
    sort: str = ""
    all: str = ""

    @classmethod
    def of(cls, asked: Mapping[str, str]) -> "Wanted":
        """What the query of an address asks for; names it does not know say nothing."""
        known = {one.name: asked.get(one.name, "").strip() for one in fields(cls)}
        return cls(**known)

    @property
    def sort_key(self) -> str | None:
        """The column, metric or setting that the runs are sorted by; None: another order."""
        return self.sort if self.sort not in {"", BY_FINDINGS} else None


def chosen(runs: Sequence[Run], wanted: Wanted, counts: Counts) -> list[Run]:
    """The runs that meet every wish, in the order that is wished for.

    Args:
        runs: All runs, newest first; with their metrics, if they are sorted by one.
        wanted: The wishes.
        counts: Counts of the findings of a run, None where it was not diagnosed.

    Raises:
        UsageError: there is no such status or finding, or the runs cannot be sorted so.
    """
    if wanted.found and wanted.found not in set(Found):
        raise UsageError(f"found {wanted.found!r} is unknown; use {', '.join(Found)}.")
    found = filter_runs(
        runs,
        project=wanted.project or None,
        tags=[wanted.tag] if wanted.tag else (),
        status=wanted.status or None,
    )
    found = [run for run in found if _says(run, wanted.text) and _has(counts(run), wanted.found)]
    if wanted.sort == BY_FINDINGS:
        return sorted(found, key=lambda run: _gravity(counts(run)))
    return sorted_runs(found, wanted.sort_key)


def _says(run: Run, text: str) -> bool:
    settings = (f"{key} {value}" for key, value in run.config.items())
    texts = (run.name, run.run, f"{run.project}/{run.name}", *run.tags, *settings)
    return any(text.casefold() in one.casefold() for one in texts)


def _has(counts: Mapping[str, Json] | None, found: str) -> bool:
    errors, warnings = _number(counts, "error"), _number(counts, "warning")
    if found == Found.UNKNOWN:
        return counts is None
    if found == Found.NOTHING:
        return counts is not None and errors + warnings == 0
    return not found or errors + (warnings if found == Found.PROBLEM else 0) > 0


def _gravity(counts: Mapping[str, Json] | None) -> tuple[int, int, int]:
    """Gravest first; runs that nobody has judged come last."""
    errors, warnings = _number(counts, "error"), _number(counts, "warning")
    return (1 if counts is None else 0, -errors, -warnings)


def _number(counts: Mapping[str, Json] | None, severity: str) -> int:
    return json_integer((counts or {}).get(severity), least=0) or 0
