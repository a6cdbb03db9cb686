"""What `telemetry diagnose` shows: causes, what they lead to, and what could not be checked."""

from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Cell, Span, Style
from telemetry.cli.output.render import Screen
from telemetry.cli.output.texts import plural
from telemetry.cli.screens import findings as finding_lines
from telemetry.diagnose.finding import Diagnosis, Finding, Suppressed

if TYPE_CHECKING:
    from telemetry.store.runs.run import Run


def show(screen: Screen, run: "Run | None", diagnosis: Diagnosis, *, whole: bool) -> None:
    """Causes, each with what it leads to, then how many rules passed and could not run.

    Args:
        screen: Where to write.
        run: The run; None where only its outcomes are at hand.
        diagnosis: What the rules say about it.
        whole: Also the numbers of consequences, and why rules could not run.
    """
    named: tuple[Cell, ...] = () if run is None else (Span(run.name, Style.STRONG), run.short)
    screen.line(
        *named,
        f"{numbers.count(diagnosis.n_steps)} steps, "
        f"{numbers.count(diagnosis.n_samples)} samples, {diagnosis.state}",
        summary(diagnosis),
    )
    if whole:
        show_findings(screen, diagnosis.findings, diagnosis, numbered=True)
    else:
        _show_causes(screen, diagnosis)
    _show_outlook(screen, diagnosis)
    _show_outcomes(screen, diagnosis, whole=whole or not diagnosis.passed)
    if diagnosis.findings and run is not None:
        more = f"telemetry diagnose {run.short} --details 1 shows the numbers behind finding 1"
        screen.note(Span(more, Style.FAINT))


def show_findings(
    screen: Screen,
    findings: Sequence[Finding],
    diagnosis: Diagnosis,
    *,
    numbered: bool = False,
) -> None:
    """Some of the findings of a diagnosis; people get numbers, for `--details`."""
    heads = finding_lines.heads(findings, diagnosis.suppressed)
    width = len(str(len(findings)))
    for place, (finding, head) in enumerate(zip(findings, heads, strict=True), start=1):
        number = [Span(f"{place:{width}}", Style.FAINT)] if numbered and screen.for_people else []
        _show_finding(screen, finding, (*number, *head), diagnosis.suppressed)


def _show_causes(screen: Screen, diagnosis: Diagnosis) -> None:
    """What stands alone, and in a line below each what follows from it; numbers as in `--all`."""
    numbers_of = {id(finding): place for place, finding in enumerate(diagnosis.findings, start=1)}
    causes = [
        finding
        for finding in diagnosis.findings
        if finding_lines.stands_alone(finding, diagnosis.suppressed)
    ]
    width = len(str(len(diagnosis.findings)))
    heads = finding_lines.heads(causes, diagnosis.suppressed)
    for finding, head in zip(causes, heads, strict=True):
        number = Span(f"{numbers_of[id(finding)]:{width}}", Style.FAINT)
        _show_finding(screen, finding, (number, *head), diagnosis.suppressed)
        followers = [
            finding_lines.in_short(one, numbers_of[id(one)])
            for one in diagnosis.findings
            if one.consequence_of == finding.detector
        ]
        if followers:
            screen.paragraph("; ".join(followers), indent=2, label="leads to")


def _show_outlook(screen: Screen, diagnosis: Diagnosis) -> None:
    """What may be to blame where the run fails and no finding explains it."""
    outlook = diagnosis.outlook
    is_open = bool(outlook.suspects or outlook.unlooked)
    in_headline = outlook.misses and not diagnosis.findings
    says_how_far = outlook.text and not in_headline and (is_open or not outlook.misses)
    words = [outlook.text[:1].upper() + outlook.text[1:]] if says_how_far else []
    if outlook.suspects:
        words.append(f"No rule is sure of the cause; suspect first: {', '.join(outlook.suspects)}")
    if outlook.unlooked:
        n_rules = plural(len(outlook.unlooked), "rule")
        words.append(f"{n_rules} that might explain it could not run; --all says what they need")
    if words:
        screen.paragraph(". ".join(words) + ".")


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
) -> None:
    alone = finding_lines.stands_alone(finding, suppressed)
    indent = 2 if alone else 4
    screen.line(*head)
    screen.paragraph(finding.message, indent=indent)
    if alone:
        finding_lines.show_hidden_cause(screen, finding, suppressed)
        if finding.advice:
            screen.paragraph(finding.advice, indent=indent, label="try")


def _show_outcomes(screen: Screen, diagnosis: Diagnosis, *, whole: bool) -> None:
    n_found, n_passed = len(diagnosis.findings), len(diagnosis.passed)
    n_skipped, n_suppressed = len(diagnosis.not_checked), len(diagnosis.suppressed)
    accepted = f"{n_suppressed} suppressed, " if n_suppressed else ""
    screen.line(
        f"{plural(n_found + n_suppressed + n_passed + n_skipped, 'detector')}: "
        f"{n_found} found, {accepted}{n_passed} passed, {n_skipped} not checked"
        + ("; --all says why" if n_skipped and not whole else "")
    )
    finding_lines.show_suppressed(screen, diagnosis.suppressed)
    if whole:
        _show_reasons(screen, diagnosis)


def _show_reasons(screen: Screen, diagnosis: Diagnosis) -> None:
    """Why rules could not run: those that share a reason in one paragraph."""
    absent = [entry.detector for entry in diagnosis.not_checked if entry.absent]
    if absent:
        screen.paragraph(f"not applicable: {', '.join(absent)}", indent=2)
    by_reason: dict[str, list[str]] = defaultdict(list)
    for entry in diagnosis.not_checked:
        if not entry.absent:
            by_reason[entry.reason].append(entry.detector)
    for reason, detectors in by_reason.items():
        screen.paragraph(f"{', '.join(detectors)}: {reason}", indent=2)
