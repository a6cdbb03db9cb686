"""List the rules that diagnose applies, or explain one of them.

Examples:
  telemetry detectors
  telemetry detectors vanishing_gradient
  telemetry detectors --tags
  telemetry detectors --json
"""

import re
from typing import TYPE_CHECKING

import click

from telemetry.cli.options import Settings, verb
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import SEVERITY_STYLES, Column, Grid, Span, Style
from telemetry.cli.output.render import Screen, open_screen
from telemetry.cli.output.texts import plural
from telemetry.json_values import Json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from telemetry.diagnose.detector import Detector
    from telemetry.diagnose.tag_meanings import Meaning


GROUP = "Diagnose"
SECTION = re.compile(r"[A-Z][a-z ]+: ")


def complete_detectors(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[str]:
    """For the shell: ids that begin with what was typed."""
    from telemetry.diagnose.detector import all_detectors  # noqa: PLC0415 - keeps --help fast

    return [d.id for d in all_detectors() if d.id.startswith(incomplete)]


@verb(__name__, __doc__)
@click.argument("name", required=False, shell_complete=complete_detectors)
@click.option("--tags", is_flag=True, help="List the run tags that change the diagnosis, and how.")
@click.pass_obj
def command(settings: Settings, *, name: str | None, tags: bool) -> None:
    """One page for one detector, one line each for all, or the tags."""
    from telemetry.diagnose.detector import (  # noqa: PLC0415 - keeps --help fast
        all_detectors,
        find_detector,
    )
    from telemetry.diagnose.tag_meanings import MEANINGS, about  # noqa: PLC0415 - as above

    screen = open_screen(settings)
    chosen = all_detectors() if name is None else (find_detector(name),)
    if screen.wants_json:
        known = MEANINGS if name is None else about(chosen[0].id)
        screen.json(
            {
                "detectors": [to_json(detector) for detector in chosen],
                "tags": [meaning.to_json() for meaning in known],
            }
        )
    elif tags:
        _list_tags(screen, MEANINGS if name is None else about(chosen[0].id))
    elif name is None:
        _list(screen, chosen)
    else:
        _explain(screen, chosen[0], about(chosen[0].id))


def to_json(detector: "Detector") -> dict[str, Json]:
    """One entry of `detectors --json`."""
    return {
        "id": detector.id,
        "title": detector.title,
        "tier": detector.tier,
        "severity": detector.severity,
        "needs": [str(need) for need in detector.needs],
        "parameters": dict(detector.parameters),
        "advice": detector.advice,
        "source": detector.source,
        "doc": detector.doc,
    }


def _list(screen: Screen, detectors: "tuple[Detector, ...]") -> None:
    columns = (
        Column(header="DETECTOR"),
        Column(header="TIER", rank=1),
        Column(header="SEVERITY"),
        Column(header="FINDS", shrinks=True, least=42, folds=True),
    )
    rows = tuple(
        (
            detector.id,
            detector.tier,
            Span(detector.severity, SEVERITY_STYLES[detector.severity]),
            detector.title,
        )
        for detector in detectors
    )
    screen.grid(Grid(columns=columns, rows=rows), indent=0)
    screen.note(
        Span(
            f"{plural(len(detectors), 'detector')}; telemetry detectors NAME explains one",
            Style.FAINT,
        )
    )


def sections(doc: str) -> list[str]:
    """Paragraphs of a docstring, each in one line; `Symptom:` and its like begin a new one."""
    parts: list[str] = []
    fresh = True
    for line in doc.strip().splitlines():
        if fresh or SECTION.match(line):
            parts.append(line.strip())
        elif line.strip():
            parts[-1] += " " + line.strip()
        fresh = not line.strip()
    return [part for part in parts if part]


def _list_tags(screen: Screen, meanings: "Sequence[Meaning]") -> None:
    columns = (
        Column(header="TAG"),
        Column(header="SAYS", shrinks=True, least=20, folds=True),
        Column(header="CHANGES", shrinks=True, least=26, folds=True),
    )
    rows = tuple((meaning.tag, meaning.says, effect(meaning)) for meaning in meanings)
    screen.grid(Grid(columns=columns, rows=rows), indent=0)
    screen.note(Span('to tag a run: TelemetryCallback(..., tags=("gan",))', Style.FAINT))


def effect(meaning: "Meaning") -> str:
    """What a tag changes, with the rules that it concerns."""
    named = ", ".join((*meaning.silenced, *meaning.softened))
    return f"{meaning.changes} ({named})" if named else meaning.changes


def _explain(screen: Screen, detector: "Detector", meanings: "Sequence[Meaning]") -> None:
    screen.line(
        Span(detector.id, Style.STRONG),
        detector.tier,
        Span(detector.severity, SEVERITY_STYLES[detector.severity]),
    )
    for part in sections(detector.doc):
        screen.paragraph(part, indent=2)
    screen.blank()
    for need in detector.needs:
        screen.paragraph(str(need), indent=2, label="needs")
    for key, value in detector.parameters.items():
        screen.paragraph(f"{key} = {numbers.literal(value)}", indent=2, label="limit")
    text = f"[detectors.{detector.id}] in telemetry.toml: limits, severity, enabled"
    screen.paragraph(text, indent=2, label="settings")
    for meaning in meanings:
        text = f"{meaning.tag} ({meaning.says}): {meaning.changes}"
        screen.paragraph(text, indent=2, label="tag")
    screen.paragraph(detector.advice, indent=2, label="try")
    screen.paragraph(detector.source, indent=2, label="source")
