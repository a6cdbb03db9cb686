"""The part of a page that tells of one run: its facts, its findings, its layers over the steps."""

from typing import TYPE_CHECKING

from telemetry.answer_page.html import element, escaped, facts, joined, paragraph
from telemetry.cli.options import Settings
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import span
from telemetry.cli.output.page import PageScreen
from telemetry.cli.report.heat import HeatMap, heat
from telemetry.cli.report.ridges import ridges
from telemetry.cli.report.scales import Axis
from telemetry.cli.report.timeline import timeline
from telemetry.cli.screens import diagnosis as diagnosis_screen
from telemetry.cli.screens.run_lines import capture_line, headline, model_line, trained_line
from telemetry.cli.screens.tries import show_stored

if TYPE_CHECKING:
    from telemetry.report.result import RunReport

RATIO_NOTE = "Size of an update beside the weight it changes, the median of each stretch of steps."
RIDGE_NOTE = "A ridge a step, the first one above: how many weights have which magnitude."


def run_part(report: "RunReport", settings: Settings) -> str:
    """Everything of one run but its curves."""
    run = report.run
    content = joined(
        element("h2", escaped(f"{run.name} {run.short}")),
        _facts(report),
        _findings(report, settings),
        *_layers(report),
        _weights(report),
    )
    return f'<section id="run-{escaped(run.run)}">{content}</section>'


def steps_axis(n_steps: int) -> Axis:
    """The axis of the steps of a run."""
    return Axis(low=0, high=max(n_steps - 1, 1))


def _facts(report: "RunReport") -> str:
    run = report.run
    status = ", ".join(span(cell).text for cell in headline(run, report.timing)[2:])
    config = ", ".join(f"{key} {numbers.literal(value)}" for key, value in run.config.items())
    known = [
        ("status", status),
        ("started", run.started),
        ("steps", numbers.count(run.steps)),
        ("samples", numbers.count(report.footprint.n_samples)),
        ("config", config),
        ("model", model_line(report.description)),
        ("trained", trained_line(report.trained)),
        ("capture", capture_line(run, report.description, report.timing, report.footprint)),
    ]
    return facts((name, text) for name, text in known if text)


def _findings(report: "RunReport", settings: Settings) -> str:
    screen = PageScreen(settings)
    diagnosis_screen.show(screen, report.run, report.diagnosis, whole=False)
    show_stored(screen, report.tries)
    return timeline(report.diagnosis, steps_axis(report.run.steps)) + screen.html


def _layers(report: "RunReport") -> list[str]:
    n_steps = report.run.steps
    kept = {
        layer
        for finding in report.diagnosis.findings
        for layer in (finding.layer, *finding.layers)
        if layer is not None
    }
    ratios, dead = report.update_ratios, report.dead_units
    maps = [
        HeatMap(
            title="gradient norm by layer (L2, logarithmic scale)",
            names=report.norms.layers,
            values=report.norms.norms,
            n_steps=n_steps,
            kept=kept,
        ),
        HeatMap(
            title="update ratio by parameter (logarithmic scale)",
            names=ratios.labels,
            values=ratios.values,
            n_steps=n_steps,
            kept=kept,
            note=RATIO_NOTE,
        ),
        HeatMap(
            title="dead units by layer (% of its units)",
            names=dead.labels,
            values=dead.values,
            n_steps=n_steps,
            is_share=True,
            kept=kept,
        ),
    ]
    drawn = [drawing for one in maps if (drawing := heat(one))]
    if not drawn:
        return [paragraph("No step was sampled, so nothing is known of the layers.", "nothing")]
    return [element("div", "".join(drawn), "charts")]


def _weights(report: "RunReport") -> str:
    drawn = [ridges(one) for one in report.weights if any(one.octaves for one in one.spreads)]
    if not drawn:
        return ""
    return joined(
        element("h3", "weights"),
        paragraph(RIDGE_NOTE, "foot"),
        element("div", "".join(drawn), "charts small"),
    )
