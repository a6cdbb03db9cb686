"""From what a user types to runs: the one parser of selectors.

One run: id, name, `project/name`, `latest`, `latest~1` (by start; files of weights that were
evaluated come after every training), or the beginning of an id or
short id. A group: `tag=x`, a pattern such as `sweep/*`, a name that several runs share, or one run.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from telemetry.errors import RunNotFound, UsageError
from telemetry.format.manifest import Status
from telemetry.format.runs import begins_id
from telemetry.store.files.folders import printable
from telemetry.store.runs.run import Run

MAX_CANDIDATES = 8
SIMILARITY = 0.5  # difflib ratio from which a name counts as near

_LATEST = re.compile(r"latest(?:~(\d{1,6}))?")
_PERIOD = re.compile(r"(\d{1,6})\s*([smhdw])")
_UNIT_S = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


def select_run(runs: Sequence[Run], selector: str) -> Run:
    """The one run that a selector means.

    Args:
        runs: Runs to choose from, newest first.
        selector: Id, name, `project/name`, `latest`, `latest~N`, or at least four characters from
            the beginning of an id or short id; the first kind that fits counts.

    Raises:
        RunNotFound: no run fits, or several do; candidates are selectors of one run each.
    """
    if not runs:
        raise RunNotFound(
            f"no run matches {printable(selector)!r}: there are no runs to choose from."
        )
    latest = _LATEST.fullmatch(selector)
    if latest:
        return _latest(runs, int(latest[1] or 0))
    for fits in _TIERS:
        found = [run for run in runs if fits(run, selector)]
        if len(found) == 1:
            return found[0]
        if found:
            raise _several(runs, found, selector)
    raise _none(runs, selector)


def select_group(runs: Sequence[Run], selector: str) -> list[Run]:
    """The runs that a selector means where several may be meant, newest first.

    Args:
        runs: Runs to choose from, newest first.
        selector: `tag=x`, a pattern with `*`, `?` or `[...]` over names, ids and `project/name`,
            a name that several runs share, or anything that `select_run` takes.

    Raises:
        RunNotFound: no run fits.
    """
    if selector.startswith("tag="):
        tag = selector.removeprefix("tag=")
        found = [run for run in runs if tag in run.tags]
        if not found:
            raise _no_such_tag(runs, tag)
        return found
    if any(character in selector for character in "*?["):
        found = [run for run in runs if any(fnmatchcase(n, selector) for n in _names(run))]
        if found:
            return found
    named = [run for run in runs if _is_named(run, selector)]
    return named or [select_run(runs, selector)]


def select_groups(runs: Sequence[Run], selectors: Sequence[str]) -> list[Run]:
    """The runs of all selectors, each once.

    Raises:
        RunNotFound: a selector fits no run.
    """
    found = [run for selector in selectors for run in select_group(runs, selector)]
    return list({run.ref.path: run for run in found}.values())


def filter_runs(
    runs: Sequence[Run],
    *,
    project: str | None = None,
    tags: Iterable[str] = (),
    status: str | None = None,
    since: str | None = None,
    now: datetime | None = None,
) -> list[Run]:
    """The runs that meet every condition, in the given order.

    Args:
        runs: Runs to filter.
        project: Name of the project, or a pattern.
        tags: Tags that a run must all have.
        status: One of `Status`.
        since: Latest age or date of the start: `90s`, `30m`, `12h`, `2d`, `1w`, `2026-01-31`, or
            a date with time (UTC unless it says otherwise). Runs of unknown start are left out.
        now: What an age counts from.

    Raises:
        UsageError: status or since cannot be understood.
    """
    if status is not None and status not in set(Status):
        raise UsageError(f"status {status!r} is unknown; use {', '.join(Status)}.")
    earliest = None if since is None else parse_since(since, now=now or datetime.now(UTC))
    wanted = set(tags)
    return [
        run
        for run in runs
        if (project is None or _in_project(run, project))
        and wanted <= set(run.tags)
        and (status is None or run.status == status)
        and (earliest is None or _started_since(run, earliest))
    ]


def parse_since(text: str, *, now: datetime) -> datetime:
    """The moment that an age such as `2d` or an ISO date names.

    Raises:
        UsageError: it is neither.
    """
    period = _PERIOD.fullmatch(text.strip())
    try:
        if period:
            return now - timedelta(seconds=int(period[1]) * _UNIT_S[period[2]])
        moment = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError) as error:
        raise UsageError(
            f"cannot understand since {text!r}; write an age such as 90s, 30m, 12h, 2d, 1w or a "
            "date such as 2026-01-31."
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def shortest_selector(runs: Sequence[Run], run: Run) -> str:
    """The shortest text that selects this run: its short id, its id, or `project/id`."""
    if _unique(runs, lambda other: other.short == run.short):
        return run.short
    if _unique(runs, lambda other: other.run == run.run):
        return run.run
    return f"{run.ref.project}/{run.run}"


def _is_id(run: Run, selector: str) -> bool:
    return selector in {run.run, f"{run.ref.project}/{run.run}", f"{run.project}/{run.run}"}


def _is_named(run: Run, selector: str) -> bool:
    return selector in {run.name, f"{run.project}/{run.name}", f"{run.ref.project}/{run.name}"}


def _begins_with(run: Run, selector: str) -> bool:
    for project in (run.project, run.ref.project):
        selector = selector.removeprefix(f"{project}/")
    return begins_id(run.run, selector)


_TIERS: tuple[Callable[[Run, str], bool], ...] = (_is_id, _is_named, _begins_with)


def _latest(runs: Sequence[Run], back: int) -> Run:
    ordered = sorted(
        runs, key=lambda run: (not run.is_of_weights, run.started, run.run), reverse=True
    )
    if back >= len(ordered):
        raise RunNotFound(
            f"latest~{back} goes back too far: there are only {len(ordered)} runs.",
            (f"latest~{len(ordered) - 1}",),
        )
    return ordered[back]


def _names(run: Run) -> set[str]:
    return {
        run.run,
        run.name,
        *(
            f"{project}/{name}"
            for project in (run.project, run.ref.project)
            for name in (run.name, run.run)
        ),
    }


def _several(runs: Sequence[Run], found: Sequence[Run], selector: str) -> RunNotFound:
    shown = found[:MAX_CANDIDATES]
    candidates = tuple(shortest_selector(runs, run) for run in shown)
    lines = [
        f"  {candidate}  {printable(run.project)}/{printable(run.name)}  started {run.started[:19]}"
        for candidate, run in zip(candidates, shown, strict=True)
    ]
    if len(found) > len(shown):
        lines.append(f"  and {len(found) - len(shown)} more")
    head = f"{printable(selector)!r} matches {len(found)} runs; choose one:"
    return RunNotFound("\n".join([head, *lines]), candidates)


def _none(runs: Sequence[Run], selector: str) -> RunNotFound:
    by_name: dict[str, Run] = {}
    for run in runs:
        for name in (run.name, run.short, run.run, f"{run.project}/{run.name}"):
            by_name.setdefault(name, run)
    near = difflib.get_close_matches(selector, by_name, n=3, cutoff=SIMILARITY)
    candidates = tuple(dict.fromkeys(near))
    hint = f" Nearest: {', '.join(printable(name) for name in candidates)}." if candidates else ""
    return RunNotFound(
        f"no run matches {printable(selector)!r}.{hint} `telemetry runs` lists all {len(runs)}.",
        candidates,
    )


def _no_such_tag(runs: Sequence[Run], tag: str) -> RunNotFound:
    known = sorted({known for run in runs for known in run.tags})
    near = difflib.get_close_matches(tag, known, n=3, cutoff=SIMILARITY) or known[:MAX_CANDIDATES]
    there = f"there are {', '.join(printable(name) for name in near)}" if near else "no run has one"
    return RunNotFound(
        f"no run has the tag {printable(tag)!r}; {there}.", tuple(f"tag={name}" for name in near)
    )


def _in_project(run: Run, project: str) -> bool:
    return any(
        name == project or fnmatchcase(name, project) for name in (run.project, run.ref.project)
    )


def _started_since(run: Run, earliest: datetime) -> bool:
    try:
        started = datetime.fromisoformat(run.started)
    except ValueError:
        return False
    return (started if started.tzinfo else started.replace(tzinfo=UTC)) >= earliest


def _unique(runs: Sequence[Run], fits: Callable[[Run], bool]) -> bool:
    return sum(map(fits, runs)) == 1
