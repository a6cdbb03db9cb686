"""What `telemetry diff` shows: the verdict first, then what differs, from cause to effect."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.cli.output.grid import SEVERITY_MARKS, Align, Column, Grid, Span, Style
from telemetry.cli.output.render import Screen
from telemetry.cli.output.texts import plural
from telemetry.cli.output.verdicts import VERDICT_STYLES
from telemetry.cli.screens import findings as finding_lines
from telemetry.cli.screens.diff_costs import cost_grid
from telemetry.cli.screens.diff_course import show_course
from telemetry.cli.screens.diff_metrics import axis_text, metric_grid, power_text
from telemetry.cli.screens.diff_settings import MOST_SHOWN, setting_lines
from telemetry.cli.screens.run_lines import trained_line
from telemetry.compare.diff.result import Diff
from telemetry.compare.divergence.cause import Divergence
from telemetry.compare.terms import DivergenceKind
from telemetry.finding import MODEL_ITSELF
from telemetry.format.runs import SHORT_ID_LENGTH

if TYPE_CHECKING:
    from telemetry.compare.diff.result import LayerChange
    from telemetry.compare.settings.labels import RunLabels
    from telemetry.diagnose.finding import Finding

LARGEST_LOG2 = 6  # of a ratio written as a plain number
SHOWN_LAYERS = 10  # of a terminal; a pipe gets all
SHOWN_NAMES = 3  # runs of a group


def show(screen: Screen, diff: Diff) -> None:
    """The verdict first, then what differs, from cause to effect."""
    screen.line(Span("VERDICT", Style.STRONG), Span(diff.verdict, VERDICT_STYLES[diff.verdict]))
    screen.paragraph(diff.reason, indent=2)
    kept = f", from {diff.baseline_file}" if diff.baseline_file else ""
    screen.paragraph(_group(diff.base) + kept, indent=2, label="base")
    screen.paragraph(_group(diff.candidate), indent=2, label="candidate")
    shown = MOST_SHOWN if screen.for_people else None
    for label, text in setting_lines(diff, shown=shown):
        screen.paragraph(text, indent=2, label=label)
    for text in _trained(diff):
        screen.paragraph(text, indent=2, label="trained")
    _show_metrics(screen, diff)
    if diff.metrics:
        show_course(screen, diff.metrics[0], diff.axis)
    if diff.costs:
        screen.blank()
        screen.grid(cost_grid(diff.costs))
    _show_layers(screen, diff.layers)
    _show_findings(screen, diff)
    screen.paragraph(_first_difference(diff), indent=2, label="first difference")
    for warning in diff.warnings if screen.keeps_warnings else ():
        screen.paragraph(warning, indent=2, label="warning")


def _group(runs: Sequence["RunLabels"]) -> str:
    names = [f"{run.name} {run.short}" for run in runs[:SHOWN_NAMES]]
    more = len(runs) - len(names)
    text = ", ".join(names) + (f" and {more} more" if more else "")
    return text if len(runs) == 1 else f"{plural(len(runs), 'run')}: {text}"


def _trained(diff: Diff) -> list[str]:
    """What both sides train, in one text where it is the same."""
    sides = {"base": diff.trained.base, "candidate": diff.trained.candidate}
    texts = {side: trained_line(found) for side, found in sides.items() if found is not None}
    said = [(side, text) for side, text in texts.items() if text]
    if len({text for _, text in said}) == 1:
        return [said[0][1]]
    return [f"{side}: {text}" for side, text in said]


def _show_metrics(screen: Screen, diff: Diff) -> None:
    if not diff.metrics:
        return
    for label, text in (("axis", axis_text(diff)), ("power", power_text(diff.metrics[0]))):
        if text:
            screen.paragraph(text, indent=2, label=label)
    screen.blank()
    n_detailed = 1 if screen.for_people else len(diff.metrics)
    screen.grid(metric_grid(diff.metrics, n_detailed=n_detailed))
    if any(metric.is_smoothed for metric in diff.metrics):
        text = "  BASE, CANDIDATE and best of the loss are means over a tenth of the steps"
        screen.note(Span(text, Style.FAINT))


def _show_layers(screen: Screen, layers: Sequence["LayerChange"]) -> None:
    if not layers:
        return
    columns = (
        Column(header="LAYER", shrinks=True),
        Column(header="STATISTIC"),
        Column(header="RATIO", align=Align.RIGHT),
        Column(header="LOG2", align=Align.RIGHT),
        Column(header="NOISE", align=Align.RIGHT, rank=1),
        Column(header="SINCE STEP", align=Align.RIGHT),
    )
    shown = layers[:SHOWN_LAYERS] if screen.for_people else layers
    rows = tuple(
        (
            layer.layer,
            layer.statistic,
            ratio(layer.log2_ratio),
            f"{layer.log2_ratio:+.2f}",
            f"{layer.noise:.2f}",
            numbers.NOTHING if layer.first_step is None else numbers.count(layer.first_step),
        )
        for layer in shown
    )
    screen.blank()
    screen.grid(Grid(columns=columns, rows=rows))
    if len(shown) < len(layers):
        screen.note(Span(f"  {len(layers) - len(shown)} more with --json", Style.FAINT))


def ratio(log2_ratio: float) -> str:
    """A factor: `2.40×`, `0.31×`; a power of two if it is very large or small."""
    if abs(log2_ratio) > LARGEST_LOG2:
        return f"2^{log2_ratio:+.0f}×"
    return f"{2**log2_ratio:.2f}×"


def _show_findings(screen: Screen, diff: Diff) -> None:
    screen.blank()
    for label, findings in (("new", diff.new_findings), ("fixed", diff.fixed_findings)):
        for text in map(_finding_text, findings) if findings else ("no findings",):
            screen.paragraph(text, indent=2, label=label)


def _finding_text(finding: "Finding") -> str:
    severity = SEVERITY_MARKS[finding.severity]
    return f"{severity} {finding.detector} {finding_lines.place(finding)}: {finding.message}"


def _first_difference(diff: Diff) -> str:
    found = diff.first_divergence
    is_group = len(diff.base) + len(diff.candidate) > 2  # noqa: PLR2004 - one against one
    names = [run[-SHORT_ID_LENGTH:] for run in (found.base, found.candidate)]
    pair = f"{names[0]} and {names[1]}: " if is_group and all(names) else ""
    return pair + divergence(found)


def divergence(found: Divergence) -> str:
    """When and by what the runs first differ, in words."""
    if found.kind is DivergenceKind.NONE:
        return "none: the recorded numbers are equal"
    where = "" if found.layer is None else f", layer {found.layer or MODEL_ITSELF}"
    until = "" if found.equal_until is None else f", equal up to {numbers.count(found.equal_until)}"
    when = "" if found.step is None else f"step {numbers.count(found.step)}{where}{until}: "
    detail = f" ({found.detail.removesuffix('.')})" if found.detail else ""
    return f"{when}{found.kind.replace('_', ' ')}{detail}"
