"""`telemetry` alone: the latest runs, the newest problem, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import telemetry
from telemetry.cli.cached_diagnosis import counts_in_force, kept_findings
from telemetry.cli.options import Settings
from telemetry.cli.output.grid import Span, Style
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.cli.screens import findings as finding_lines
from telemetry.cli.screens.run_list import RunList, loss_trends, show_runs
from telemetry.errors import StoreUnreadable
from telemetry.format.manifest import Status

if TYPE_CHECKING:
    from telemetry.finding import Finding
    from telemetry.json_values import Json
    from telemetry.store.runs.run import Run

SHOWN_RUNS = 5
LOOKED_AT = 20  # runs in which a problem is looked for; older ones are history
SEVERITIES = ("error", "warning")  # a note is no problem
# What a store without a run leads to.
FIRST_STEPS = (
    ("telemetry record train.py", "records a training script as it is"),
    (
        "telemetry demo",
        "trains small networks and shows what is said of them",
    ),
    ("telemetry --help", "lists every command"),
)
Step = tuple[str, str]  # a command, and what it does


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """The foremost finding of a run."""

    run: "Run"
    finding: "Finding"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """What there is to see; `total` counts the runs of the store."""

    runs: Sequence["Run"]
    total: int
    problem: Problem | None
    steps: tuple[Step, ...]

    def to_json(self) -> "dict[str, Json]":
        """Body of `telemetry --json`."""
        problem = self.problem
        return {
            "runs": [run.to_json() for run in self.runs],
            "total": self.total,
            "problem": None
            if problem is None
            else {"run": problem.run.to_json(), "finding": problem.finding.to_json()},
            "next": [command for command, _ in self.steps],
        }


def show_home(settings: Settings) -> None:
    """Read the newest runs, and write what they show."""
    screen = open_screen(settings)
    store = telemetry.Store.expected(settings.store)
    found = read_home(store)
    if screen.wants_json:
        screen.json(found.to_json())
        return
    place = Span(f"{settings.store}", Style.STRONG)
    screen.note(place, plural(found.total, "run") if found.total else "no run yet")
    if found.runs:
        trends = loss_trends(screen, store, found.runs)
        listed = RunList(runs=found.runs, trends=trends, counts=counts_in_force())
        show_runs(screen, listed, n_more=0)
    screen.blank()
    if found.problem is not None:
        _show_problem(screen, found.problem)
    for place_of_step, (command, what) in enumerate(found.steps):
        label = "next" if place_of_step == 0 else "or"
        screen.verbatim(f"{command}  # {what}", label=label)


def read_home(store: "telemetry.Store") -> Home:
    """The newest runs of a store, which may not be there yet."""
    runs = store.runs()
    if not runs:
        return Home(runs=(), total=0, problem=None, steps=FIRST_STEPS)
    problem = newest_problem(store, runs[:LOOKED_AT])
    return Home(
        runs=store.with_metrics(runs[:SHOWN_RUNS]),
        total=len(runs),
        problem=problem,
        steps=(*next_steps(runs, problem), ("telemetry --help", "lists every command")),
    )


def newest_problem(store: "telemetry.Store", runs: Sequence["Run"]) -> Problem | None:
    """That of the newest run that was diagnosed and has one; nothing is diagnosed anew."""
    counts_of = counts_in_force()
    for run in runs:
        counts = counts_of(run) or {}
        if any(counts.get(name) for name in SEVERITIES):
            return _first_finding(store, run)
    return None


def next_steps(runs: Sequence["Run"], problem: Problem | None) -> tuple[Step, ...]:
    """What to do about the newest run, or about the newest problem; runs come newest first."""
    newest = runs[0]
    what = "shows the evidence, and what to do"
    known = () if problem is None else ((f"telemetry diagnose {problem.run.short}", what),)
    if newest.status is Status.RUNNING:
        follow = ("telemetry diagnose latest --follow", "reports a problem as soon as it shows")
        return (follow, *known)
    if counts_in_force()(newest) is None:
        return (("telemetry diagnose latest", "says what is wrong with it, if anything"), *known)
    if known:
        return known
    before = next((run for run in runs[1:] if run.project == newest.project), None)
    if before is None:
        return (("telemetry show latest", "shows its curves"),)
    return ((f"telemetry diff {before.short} latest", "says whether it is better than before"),)


def _first_finding(store: "telemetry.Store", run: "Run") -> Problem | None:
    try:
        findings = kept_findings(store, run)
    except StoreUnreadable:  # `telemetry diagnose` says why
        return None
    finding = foremost(findings)
    return None if finding is None else Problem(run=run, finding=finding)


def foremost(findings: "Sequence[Finding]") -> "Finding | None":
    """The gravest finding, or the problem that it follows from; never a note."""
    problems = {one.detector: one for one in findings if one.severity in SEVERITIES}
    if not problems:
        return None
    found = min(problems.values(), key=lambda one: one.severity.rank)  # the first of equal ones
    while found.consequence_of in problems:
        found = problems[found.consequence_of]
    return found


def _show_problem(screen: Screen, problem: Problem) -> None:
    (head,) = finding_lines.heads([problem.finding])
    screen.line(Span("newest problem", Style.STRONG), problem.run.name, problem.run.short)
    screen.line(*head)
    screen.paragraph(problem.finding.message, indent=2)
    screen.blank()
