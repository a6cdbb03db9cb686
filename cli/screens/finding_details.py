"""`diagnose --details N`: a finding with its numbers, its limit, what to do and how to check it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers, sparklines
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style, counted
from telemetry.cli.output.render import Screen
from telemetry.cli.output.texts import plural
from telemetry.cli.screens import findings as finding_lines
from telemetry.json_values import Json

if TYPE_CHECKING:
    from telemetry.diagnose.explanation import Explanation, Series
    from telemetry.diagnose.finding import Diagnosis
    from telemetry.store.runs.run import Run

SHOWN_SERIES = 12  # of a terminal; a pipe gets all
PICTURE_WIDTH = 24  # characters over the steps
DECADES = 100.0  # highest over lowest from which the scale is logarithmic
ENOUGH = 2  # times the first step of the finding: a run that long would show it again


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """One scale for all rows, so that they can be compared; `low` and `high` are values."""

    low: float
    high: float
    is_log: bool

    def place(self, value: float | None) -> float | None:
        """Where a value lies; zero and less are the lowest of a logarithmic scale."""
        if value is None or not self.is_log or not math.isfinite(value):
            return value
        return math.log2(max(value, self.low))

    @property
    def extremes(self) -> tuple[float, float]:
        """The places of both ends."""
        return (math.log2(self.low), math.log2(self.high)) if self.is_log else (self.low, self.high)

    def picture(self, values: Sequence[float | None], *, levels: str) -> str:
        """The values as levels of this scale."""
        places = [self.place(value) for value in values]
        return sparklines.sparkline(places, levels=levels, extremes=self.extremes)


def scale_of(series: "Sequence[Series]", limit: float | None = None) -> Scale | None:
    """The scale on which all finite values and the limit lie; None where there is no value.

    Values that are all the same stand at the end of a scale that begins at zero.
    """
    finite = [value for one in series for value in one.values.tolist() if math.isfinite(value)]
    if not finite:
        return None
    if limit is not None and math.isfinite(limit):
        finite.append(limit)
    low, high = min(finite), max(finite)
    positive = [value for value in finite if value > 0]
    if low >= 0 and positive and high >= DECADES * min(positive):
        return Scale(low=min(positive), high=high, is_log=True)
    if low == high:
        return Scale(low=min(low, 0.0), high=max(high, 0.0), is_log=False)
    return Scale(low=low, high=high, is_log=False)


def document(run: "Run", explained: "Explanation") -> dict[str, Json]:
    """Body of `diagnose --details --json`."""
    finding = explained.finding
    return {
        "run": run.to_json(),
        **explained.to_json(),
        "commands": {
            "evidence": finding_lines.evidence_query(finding, short=run.short),
            "verify": list(checks(run, explained)),
        },
    }


def checks(run: "Run", explained: "Explanation") -> tuple[str, ...]:
    """Commands for after the change: whether the finding is gone, and whether the run is better."""
    detector = explained.finding.detector
    return (
        f"telemetry diagnose latest --detector {detector}",
        f"telemetry diff {run.short} latest",
    )


def show(screen: Screen, run: "Run", diagnosis: "Diagnosis", explained: "Explanation") -> None:
    """The finding, its numbers, and what to do."""
    finding = explained.finding
    screen.line(
        Span(run.name, Style.STRONG),
        run.short,
        f"{numbers.count(diagnosis.n_steps)} steps, "
        f"{numbers.count(diagnosis.n_samples)} samples, {diagnosis.state}",
    )
    place = [str(explained.number)] if explained.number is not None else ["suppressed"]
    (head,) = finding_lines.heads([finding], diagnosis.suppressed)
    screen.line(*place, *head)
    screen.paragraph(finding.message, indent=2)
    if finding.consequence_of is not None and not finding_lines.stands_alone(
        finding, diagnosis.suppressed
    ):
        cause = f"{finding.consequence_of}: look at that finding and fix it first"
        screen.paragraph(cause, indent=2, label="cause")
    finding_lines.show_hidden_cause(screen, finding, diagnosis.suppressed)
    screen.blank()
    screen.paragraph(measured(explained), indent=2, label="found")
    screen.paragraph(explained.normal, indent=2, label="normal")
    _show_series(screen, explained)
    screen.blank()
    if finding.advice:
        screen.paragraph(finding.advice, indent=2, label="try")
    screen.paragraph(how_to_check(explained), indent=2, label="verify")
    for command in checks(run, explained):
        screen.verbatim(command, indent=2, label="then")
    query = finding_lines.evidence_query(finding, short=run.short)
    if query:
        screen.verbatim(query, indent=2, label="evidence")
    more = f"telemetry detectors {finding.detector}"
    screen.verbatim(more, indent=2, label="rule")


def measured(explained: "Explanation") -> str:
    """Value, limit and steps of the finding."""
    finding = explained.finding
    unit = f" {finding.unit}" if finding.unit else ""
    value = "" if finding.value is None else f"{numbers.number(finding.value)}{unit}"
    limit = "" if finding.threshold is None else f"limit {numbers.number(finding.threshold)}"
    parts = [value, limit, finding_lines.when(finding)]
    return ", ".join(part for part in parts if part) or explained.title


def how_to_check(explained: "Explanation") -> str:
    """How long to train again, and what should be different then."""
    finding, column = explained.finding, explained.column
    first = finding.first_step
    since = f" The finding began at step {numbers.count(first)}, so" if first else ""
    length = (
        f"{since} {numbers.count(max(100, ENOUGH * first))} steps show whether it is gone."
        if first
        else ""
    )
    better = "higher" if explained.low_is_worse else "lower"
    what = f" {column} should be {better}" if column and explained.limit is not None else ""
    goal = f"{what} than {numbers.number(explained.limit)}." if what else ""
    return f"Change one thing and train again.{length}{goal}"


def _show_series(screen: Screen, explained: "Explanation") -> None:
    scale = scale_of(explained.series, explained.limit)
    screen.blank()
    if not explained.series or scale is None:
        n_rows = plural(explained.n_rows, "row")
        text = (
            f"the evidence has {n_rows} but no numbers to draw" if explained.sql else "not recorded"
        )
        screen.paragraph(text, indent=2, label="numbers")
        return
    shown = explained.series[:SHOWN_SERIES] if screen.for_people else explained.series
    steps = sorted({step for one in explained.series for step in one.steps.tolist()})
    worst = "lowest" if explained.low_is_worse else "highest"
    columns = (
        Column(header=explained.column, shrinks=True, least=12),
        Column(header="FIRST", align=Align.RIGHT, rank=2),
        Column(header=worst.upper(), align=Align.RIGHT),
        Column(header="@step", align=Align.RIGHT),
        Column(header="LAST", align=Align.RIGHT, rank=1),
        Column(header=f"steps {numbers.steps(steps[0], steps[-1])}"),
    )
    rows = tuple(_row(screen, one, steps, scale) for one in shown)
    screen.grid(Grid(columns=columns, rows=rows))
    screen.note(Span(f"  {legend(screen, explained, scale, n_shown=len(shown))}", Style.FAINT))


def _row(screen: Screen, one: "Series", steps: Sequence[int], scale: Scale) -> tuple[Cell, ...]:
    known = dict(zip(one.steps.tolist(), one.values.tolist(), strict=True))
    values = sparklines.condense([known.get(step) for step in steps], PICTURE_WIDTH)
    style = Style.STRONG if one.named else Style.PLAIN
    if not known:
        return (Span(one.name, style), *(numbers.NOTHING,) * 4, "")
    return (
        Span(one.name, style),
        numbers.number(known[min(known)]),
        numbers.number(one.worst),
        counted(one.worst_step),
        numbers.number(known[max(known)]),
        scale.picture(values, levels=screen.levels),
    )


def legend(screen: Screen, explained: "Explanation", scale: Scale, *, n_shown: int) -> str:
    """The scale, where the limit lies on it, and how many rows are left out."""
    low, high = screen.levels[0], screen.levels[-1]
    kind = ", logarithmic" if scale.is_log else ""
    parts = [f"{low} {numbers.number(scale.low)} to {high} {numbers.number(scale.high)}{kind}"]
    limit = explained.limit
    if limit is not None:
        where = scale.picture([limit], levels=screen.levels)
        parts.append(f"limit {numbers.number(limit)}: {where}")
    n_more = len(explained.series) - n_shown
    if n_more:
        parts.append(f"{n_more} more with --json")
    return "; ".join(parts)
