"""Show what is wrong with a run, in which layer, since which step, and what to do.

Examples:
  telemetry diagnose latest
  telemetry diagnose base --fail-on error
  telemetry diagnose 7f3a --detector vanishing_gradient --detector dead_units
  telemetry diagnose latest --since 1000 --json
  telemetry diagnose latest --explain 1
  telemetry diagnose latest --follow --fail-on error
"""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.cached_diagnosis import judged, policy
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Cell, Span, Style
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.cli.screens import findings as finding_lines
from telemetry.cli.screens.store_warnings import warn_of_files
from telemetry.configuration import FAIL_ON, find_configuration
from telemetry.diagnose.finding import Diagnosis, Finding, Severity, Suppressed
from telemetry.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from telemetry.json_values import Json
    from telemetry.store.catalog import Run

LATEST = "latest"
USUAL_FAIL_ON = "warning"
EXIT_FOUND = 1
EXIT_NOTHING_CHECKED = 3


@verb(__name__, __doc__)
@click.argument("run", metavar="[RUN]", shell_complete=complete_runs, default=LATEST)
@click.option(
    "--detector",
    "detectors",
    metavar="ID",
    multiple=True,
    help="Run only this detector, and also describe what a healthy run shows.",
)
@click.option(
    "--since",
    metavar="STEP",
    type=click.IntRange(0),
    help="Ignore problems that ended before STEP.",
)
@click.option(
    "--fail-on",
    type=click.Choice(FAIL_ON),
    help="Exit with 1 for findings of at least this severity; with --follow, exit at once "
    "(default: `fail_on` of telemetry.toml, or warning).",
)
@click.option(
    "--follow",
    is_flag=True,
    help="Diagnose a running run again whenever it writes, and show what changes until it ends. "
    "If no run is running, `latest` waits for the next one.",
)
@click.option(
    "--explain",
    metavar="N",
    help="Show the numbers behind finding N of the screen, or behind a detector's finding, what "
    "is normal, and how to check a fix.",
)
@click.pass_obj
def command(
    settings: Settings,
    *,
    run: str,
    detectors: tuple[str, ...],
    since: int | None,
    fail_on: str | None,
    follow: bool,
    explain: str | None,
) -> int:
    """Judge, show, and fail if something is wrong."""
    screen = open_screen(settings)
    if follow and explain is not None:
        raise UsageError(
            "--follow and --explain exclude each other; use --explain after the run has ended."
        )
    store, chosen = _followed(screen, settings, run) if follow else _selected(settings, run)
    warn_of_files(screen, [chosen])
    level = fail_on or find_configuration().fail_on or USUAL_FAIL_ON

    def diagnose(run: "Run") -> Diagnosis:
        if detectors or since is not None:
            return telemetry.diagnose_run(
                store, run, detectors=detectors or None, since=since, policy=policy()
            )
        return judged(store, run)

    if follow:
        return _follow(screen, chosen, diagnose, fail_on=level, ends_early=fail_on is not None)
    diagnosis = diagnose(chosen)
    if explain is not None:
        _explain(screen, store, chosen, diagnosis, explain)
        return 0
    if screen.wants_json:
        screen.json(document(chosen, diagnosis))
    else:
        show(screen, chosen, diagnosis)
    return exit_code(diagnosis, level)


def _selected(settings: Settings, selector: str) -> "tuple[telemetry.Store, Run]":
    store = telemetry.Store.open(settings.store)
    return store, store.select(selector)


def _followed(screen: Screen, settings: Settings, selector: str) -> "tuple[telemetry.Store, Run]":
    """The run to follow, named; `latest` is one that is being recorded, if need be a later one."""
    from telemetry.cli.screens import following  # noqa: PLC0415 - pyarrow, which --help does without

    if selector == LATEST:
        store = telemetry.Store.expected(settings.store)
        run = following.newest_run(screen, store)
    else:
        store, run = _selected(settings, selector)
    if not screen.wants_json:  # where each document names it
        following.show_run(screen, run)
    return store, run


def _explain(
    screen: Screen, store: "telemetry.Store", run: "Run", diagnosis: Diagnosis, wanted: str
) -> None:
    from telemetry.cli.screens import finding_details  # noqa: PLC0415 - keeps --help fast
    from telemetry.diagnose.explanation import (  # noqa: PLC0415 - duckdb
        chosen_finding,
        explanation,
    )

    finding, place = chosen_finding(diagnosis, wanted)
    with store.session([run]) as session:
        explained = explanation(session, finding, place=place)
    if screen.wants_json:
        screen.json(finding_details.document(run, explained))
    else:
        finding_details.show(screen, run, diagnosis, explained)


def document(run: "Run", diagnosis: Diagnosis) -> "dict[str, Json]":
    """Body of `diagnose --json`."""
    return {
        "run": run.to_json(),
        **diagnosis.to_json(),
        "n_steps": diagnosis.n_steps,
        "n_samples": diagnosis.n_samples,
    }


def _follow(
    screen: Screen,
    run: "Run",
    diagnose: "Callable[[Run], Diagnosis]",
    *,
    fail_on: str,
    ends_early: bool,
) -> int:
    """Show what changes until the run ends, or, if so wished, until there is a reason to fail."""
    from telemetry.cli.screens import following  # noqa: PLC0415 - pyarrow, which --help does without

    code = 0
    for look in following.looks(screen, run, diagnose):
        code = exit_code(look.diagnosis, fail_on)
        if screen.wants_json:
            if look.changes or look.is_last:
                more = following.document(look)
                screen.json({**document(look.run, look.diagnosis), **more}, indent=None)
        else:
            show_some = partial(_show_findings, screen, diagnosis=look.diagnosis, short=run.short)
            following.show_changes(screen, look, show_some)
            if look.is_last:
                following.show_end(screen, look, summary(look.diagnosis))
        if ends_early and code == EXIT_FOUND:
            break
    return code


def exit_code(diagnosis: Diagnosis, fail_on: str) -> int:
    """1 for a finding at or above the level, 3 when no detector could judge, else 0."""
    counted = [
        f for f in diagnosis.findings if fail_on != "never" and f.severity in failing(fail_on)
    ]
    if counted:
        return EXIT_FOUND
    found = diagnosis.findings or diagnosis.suppressed
    checked = bool(found or (diagnosis.passed and diagnosis.n_steps))
    return 0 if checked or fail_on == "never" else EXIT_NOTHING_CHECKED


def failing(fail_on: str) -> set[Severity]:
    """Severities that make the command fail; `info` never does."""
    limit = Severity(fail_on).rank
    return {severity for severity in Severity if severity.rank <= limit}


def show(screen: Screen, run: "Run", diagnosis: Diagnosis) -> None:
    """Roots with their consequences indented under them, then what passed and was not checked."""
    screen.line(
        Span(run.name, Style.STRONG),
        run.short,
        f"{numbers.count(diagnosis.n_steps)} steps, "
        f"{numbers.count(diagnosis.n_samples)} samples, {diagnosis.state}",
        summary(diagnosis),
    )
    _show_findings(screen, diagnosis.findings, diagnosis, short=run.short, numbered=True)
    _show_outcomes(screen, diagnosis)
    if diagnosis.findings:
        more = f"telemetry diagnose {run.short} --explain 1 shows the numbers behind finding 1"
        screen.note(Span(more, Style.FAINT))


def _show_findings(
    screen: Screen,
    findings: Sequence[Finding],
    diagnosis: Diagnosis,
    *,
    short: str,
    numbered: bool = False,
) -> None:
    """Some of the findings of a diagnosis; people get numbers, for `--explain`."""
    heads = finding_lines.heads(findings, diagnosis.suppressed)
    width = len(str(len(findings)))
    for place, (finding, head) in enumerate(zip(findings, heads, strict=True), start=1):
        number = [Span(f"{place:{width}}", Style.FAINT)] if numbered and screen.for_people else []
        _show_finding(screen, finding, (*number, *head), diagnosis.suppressed, short=short)


def summary(diagnosis: Diagnosis) -> Span:
    """`1 cause, 2 consequences`, or that there is none."""
    if not diagnosis.findings:
        return finding_lines.silence(diagnosis)
    n_consequences = sum(finding.consequence_of is not None for finding in diagnosis.findings)
    n_causes = len(diagnosis.findings) - n_consequences
    words = [(n_causes, "cause"), (n_consequences, "consequence")]
    return Span(", ".join(plural(n, noun) for n, noun in words if n))


def _show_finding(
    screen: Screen,
    finding: Finding,
    head: tuple[Cell, ...],
    suppressed: Sequence[Suppressed],
    *,
    short: str,
) -> None:
    alone = finding_lines.stands_alone(finding, suppressed)
    indent = 2 if alone else 4
    screen.line(*head)
    screen.paragraph(finding.message, indent=indent)
    if alone:
        finding_lines.show_hidden_cause(screen, finding, suppressed)
        if finding.advice:
            screen.paragraph(finding.advice, indent=indent, label="try")
        query = finding_lines.evidence_query(finding, short=short)
        if query:
            screen.verbatim(query, indent=indent, label="evidence")


def _show_outcomes(screen: Screen, diagnosis: Diagnosis) -> None:
    n_found, n_passed = len(diagnosis.findings), len(diagnosis.passed)
    n_skipped, n_suppressed = len(diagnosis.not_checked), len(diagnosis.suppressed)
    accepted = f"{n_suppressed} suppressed, " if n_suppressed else ""
    screen.line(
        f"{plural(n_found + n_suppressed + n_passed + n_skipped, 'detector')}: "
        f"{n_found} found, {accepted}{n_passed} passed, {n_skipped} not checked"
    )
    finding_lines.show_suppressed(screen, diagnosis.suppressed)
    absent = [entry.detector for entry in diagnosis.not_checked if entry.absent]
    if absent:
        screen.paragraph(f"not applicable: {', '.join(absent)}", indent=2)
    by_reason: dict[str, list[str]] = defaultdict(list)
    for entry in diagnosis.not_checked:
        if not entry.absent:
            by_reason[entry.reason].append(entry.detector)
    for reason, detectors in by_reason.items():
        screen.paragraph(f"{', '.join(detectors)}: {reason}", indent=2)
