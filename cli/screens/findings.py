"""Findings as `diagnose`, `show` and `diff` write them."""

import shlex
from collections.abc import Mapping, Sequence

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import SEVERITY_MARKS, Cell, Span, Style, mark
from telemetry.cli.output.render import Screen
from telemetry.cli.output.texts import cells, pad, plural
from telemetry.diagnose.finding import Diagnosis, Finding, Severity, Suppressed
from telemetry.finding import MODEL_ITSELF, QUERY_KEY
from telemetry.json_values import Json
from telemetry.safe_text import clean

SPECIAL_IN_DOUBLE_QUOTES = frozenset('"$`\\!')


def show_findings(screen: Screen, diagnosis: Diagnosis) -> None:
    """One line a finding, consequences under their root, and what the roots say."""
    lines = heads(diagnosis.findings, diagnosis.suppressed)
    for finding, head in zip(diagnosis.findings, lines, strict=True):
        screen.line(*head)
        if stands_alone(finding, diagnosis.suppressed):
            screen.paragraph(finding.message, indent=2)
            show_hidden_cause(screen, finding, diagnosis.suppressed)
    show_suppressed(screen, diagnosis.suppressed)


def show_suppressed(screen: Screen, suppressed: Sequence[Suppressed]) -> None:
    """`1 suppressed: dead_units by telemetry.toml (sparse by design)`, or nothing."""
    if suppressed:
        words = [f"{entry.finding.detector} by {entry.by} ({entry.reason})" for entry in suppressed]
        screen.paragraph(f"{len(suppressed)} suppressed: {'; '.join(words)}")


def show_hidden_cause(screen: Screen, finding: Finding, suppressed: Sequence[Suppressed]) -> None:
    """That the root of a finding is suppressed; a pipe has its name in the finding's line."""
    if screen.for_people and finding.consequence_of and stands_alone(finding, suppressed):
        text = f"{finding.consequence_of}, which is suppressed"
        screen.paragraph(text, indent=2, label="cause")


def stands_alone(finding: Finding, suppressed: Sequence[Suppressed]) -> bool:
    """Whether a finding is a root, or what follows from one that is not shown."""
    hidden = {entry.finding.detector for entry in suppressed}
    return finding.consequence_of is None or finding.consequence_of in hidden


def heads(
    findings: Sequence[Finding], suppressed: Sequence[Suppressed] = ()
) -> list[tuple[Cell, ...]]:
    """Mark, detector, layer and steps of each finding, aligned with one another."""
    alone = [stands_alone(finding, suppressed) for finding in findings]
    names = [
        f"{'' if is_alone else '  '}{f.detector}"
        for f, is_alone in zip(findings, alone, strict=True)
    ]
    places = [place(finding) for finding in findings]
    name_width, place_width = (max(map(cells, texts), default=0) for texts in (names, places))
    return [
        (
            mark(finding.severity),
            Span(
                pad(name, name_width),
                Style.STRONG if is_alone else Style.PLAIN,
                piped=finding.detector,
            ),
            Span(pad(where, place_width), piped=where),
            Span(when(finding), Style.FAINT),
            Span("", piped=f"consequence of {finding.consequence_of}")
            if finding.consequence_of
            else Span(""),
        )
        for finding, name, where, is_alone in zip(findings, names, places, alone, strict=True)
    ]


def place(finding: Finding) -> str:
    """The worst layer and how many more: `blocks.3.fc (and 4 more)`."""
    if finding.layer is None:
        return numbers.NOTHING
    more = len([layer for layer in finding.layers if layer != finding.layer])
    layer = clean(finding.layer) or MODEL_ITSELF
    return f"{layer} (and {more} more)" if more else layer


def in_short(finding: Finding, number: int) -> str:
    """`3 W dead_units in net.4, steps 50-69`: a finding in the line of its cause."""
    where = "" if finding.layer is None else f" in {place(finding)}"
    steps = when(finding)
    return f"{number} {SEVERITY_MARKS[finding.severity]} {finding.detector}{where}" + (
        f", {steps}" if steps else ""
    )


def when(finding: Finding) -> str:
    """`step 5` or `steps 100-130`; '' for a finding about the whole run."""
    first, last = finding.first_step, finding.last_step
    if first is None and last is None:
        return ""
    several = first is None or last not in {None, first}
    return f"{'steps' if several else 'step'} {numbers.steps(first, last)}"


def silence(diagnosis: Diagnosis) -> Span:
    """What no finding means: health, or that there was nothing to look at."""
    if diagnosis.n_steps == 0:
        return Span("no step was recorded, so nothing could be diagnosed", Style.WARNING)
    if diagnosis.outlook.misses:
        return Span(f"no cause found; {diagnosis.outlook.text}", Style.WARNING)
    if not diagnosis.not_checked:
        return Span("no findings", Style.GOOD)
    n_passed, n_skipped = len(diagnosis.passed), len(diagnosis.not_checked)
    text = f"no problem found by {plural(n_passed, 'rule')}; {n_skipped} could not run"
    return Span(text, Style.GOOD if n_passed > n_skipped else Style.WARNING)


def evidence_query(finding: Finding, *, short: str) -> str:
    """The command that shows the numbers behind a finding; '' when it names none."""
    sql = finding.evidence.get(QUERY_KEY)
    return f"telemetry query --run {short} {in_quotes(sql)}" if isinstance(sql, str) else ""


def in_quotes(text: str) -> str:
    """The text as one word of a shell, in double quotes where it has single ones of its own."""
    is_plain = "'" in text and not SPECIAL_IN_DOUBLE_QUOTES & set(text)
    return f'"{text}"' if is_plain else shlex.quote(text)


def counts(found: Mapping[str, Json] | None) -> list[tuple[Severity, int]]:
    """Severities that occurred, worst first."""
    numbers_by_name = found or {}
    pairs = [(severity, numbers_by_name.get(severity, 0)) for severity in Severity]
    return [(severity, n) for severity, n in pairs if isinstance(n, int) and n > 0]


def tally(found: Mapping[str, Json] | None) -> Span:
    """`E2 i1`; `-` for none, `?` when the run was not diagnosed yet."""
    if found is None:
        return Span("?", Style.FAINT)
    present = counts(found)
    if not present:
        return Span(numbers.NOTHING)
    text = " ".join(f"{SEVERITY_MARKS[severity]}{n}" for severity, n in present)
    return Span(text, mark(present[0][0]).style)
