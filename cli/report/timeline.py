"""Findings along the steps of a run: a bar from the first step that shows one to the last."""

from typing import TYPE_CHECKING

from telemetry.cli.output.grid import SEVERITY_MARKS
from telemetry.cli.report.frame import Frame, Label, at, framed
from telemetry.cli.report.scales import Axis
from telemetry.cli.screens import findings as finding_lines

if TYPE_CHECKING:
    from telemetry.diagnose.finding import Diagnosis, Finding

ROW_REM = 1.5
LEAST_WIDTH = 0.006  # of a bar: one step of many must be seen


def timeline(diagnosis: "Diagnosis", steps: Axis) -> str:
    """All findings, causes before what follows from them; nothing where there are none."""
    found = diagnosis.findings
    if not found:
        return ""
    return framed(
        Frame(
            title="findings",
            described="; ".join(
                f"{finding.detector}, {finding_lines.when(finding) or 'the whole run'}"
                for finding in found
            ),
            shapes=[
                shape
                for place, finding in enumerate(found)
                for shape in _bar(finding, steps, place, len(found))
            ],
            left=[
                Label(
                    place=(place + 0.5) / len(found),
                    text=f"{SEVERITY_MARKS[finding.severity]} {finding.detector}",
                )
                for place, finding in enumerate(found)
            ],
            below=[Label(place=x, text=text) for x, text in steps.ticks()],
            below_name="optimizer step",
            height_rem=ROW_REM * len(found),
            kind="bars",
            has_names=True,
        )
    )


def _bar(finding: "Finding", steps: Axis, place: int, n: int) -> list[str]:
    start = 0.0 if finding.first_step is None else steps.share(finding.first_step)
    end = 1.0 if finding.last_step is None else steps.share(finding.last_step)
    left = min(start, 1 - LEAST_WIDTH)
    right = max(end, left + LEAST_WIDTH)
    top, low = at((place + 0.2) / n), at((place + 0.8) / n)
    is_root = finding.consequence_of is None
    kind = f"{finding.severity}{'' if is_root else ' follows'}"
    return [
        f'<path class="rule" d="M0 {at((place + 0.5) / n)}H1000"/>',
        f'<path class="bar {kind}" d="M{at(left)} {top}H{at(right)}V{low}H{at(left)}z"/>',
    ]
