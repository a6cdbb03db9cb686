"""The whole page of `telemetry report`."""

from importlib.resources import files
from typing import TYPE_CHECKING

from telemetry.answer_page import document
from telemetry.answer_page.html import element, escaped, joined, paragraph
from telemetry.cli.options import Settings
from telemetry.cli.output import numbers
from telemetry.cli.output.grid import Align, Column, Grid
from telemetry.cli.output.page import PageScreen
from telemetry.cli.output.texts import plural
from telemetry.cli.report.forest import forest
from telemetry.cli.report.lines import lines
from telemetry.cli.report.parallel import parallel
from telemetry.cli.report.run_part import run_part, steps_axis
from telemetry.cli.screens import diff as diff_screen
from telemetry.cli.screens import sweep as sweep_screen
from telemetry.cli.screens.diagnosis import summary

if TYPE_CHECKING:
    from telemetry.report.result import Report

TITLE_RUNS = 3
PACKAGE = "telemetry.cli.report"


def report_page(report: "Report", settings: Settings) -> str:
    """A page that needs nothing else: no request, and no script to be read."""
    body = report_body(report, settings)
    return document(report_title(report), body, style=page_text("css"), script=page_text("js"))


def report_body(report: "Report", settings: Settings) -> list[str]:
    """What stands below the title, as pieces of HTML."""
    return [
        _links(report),
        *(paragraph(f"note: {text}", "note") for text in (*report.notes, *report.warnings)),
        _overview(report, settings),
        _curves(report),
        _difference(report, settings),
        _search(report, settings),
        *(run_part(one, settings) for one in report.runs),
    ]


def page_text(ending: str) -> str:
    """The style (css) or the script (js) that the drawings need."""
    return files(PACKAGE).joinpath(f"page.{ending}").read_text("utf-8").strip()


def report_title(report: "Report") -> str:
    """The runs, the first of many."""
    names = ", ".join(f"{one.run.short} {one.run.name}" for one in report.runs[:TITLE_RUNS])
    more = report.n_runs - min(len(report.runs), TITLE_RUNS)
    return f"{names} and {more} more" if more > 0 else names


def _links(report: "Report") -> str:
    """Links to the parts of the runs; nothing for a single one."""
    if len(report.runs) == 1:
        return ""
    return element(
        "nav",
        "".join(
            f'<a href="#run-{escaped(run.run)}">{escaped(f"{run.name} {run.short}")}</a>'
            for run in (one.run for one in report.runs)
        ),
    )


def _overview(report: "Report", settings: Settings) -> str:
    """One row a run; nothing for a single one, whose part says it."""
    if len(report.runs) == 1:
        return ""
    columns = (
        *(Column(header=name) for name in ("RUN", "NAME", "STATUS")),
        *(Column(header=name, align=Align.RIGHT) for name in ("STEPS", "SAMPLES", "LOSS")),
        Column(header="FINDINGS"),
    )
    rows = tuple(
        (
            one.run.short,
            one.run.name,
            str(one.run.status),
            numbers.count(one.run.steps),
            numbers.count(one.footprint.n_samples),
            numbers.number(one.run.last_value("loss")),
            summary(one.diagnosis),
        )
        for one in report.runs
    )
    screen = PageScreen(settings)
    screen.grid(Grid(columns=columns, rows=rows))
    return element("section", screen.html)


def _curves(report: "Report") -> str:
    plot = report.plot
    if plot is None:
        return ""
    last = max(
        (int(c.steps[-1]) for m in plot.metrics for c in m.curves if c.steps.size), default=0
    )
    longest = max([last + 1, *(run.steps for run in plot.runs)])
    drawn = "".join(lines(metric, steps_axis(longest)) for metric in plot.metrics)
    return element("section", joined(element("h2", "curves"), element("div", drawn, "charts")))


def _difference(report: "Report", settings: Settings) -> str:
    if report.diff is None:
        return ""
    screen = PageScreen(settings)
    diff_screen.show(screen, report.diff)
    return element("section", joined(element("h2", "comparison"), forest(report.diff), screen.html))


def _search(report: "Report", settings: Settings) -> str:
    if report.sweep is None:
        return ""
    screen = PageScreen(settings)
    sweep_screen.show(screen, report.sweep)
    title = f"sweep over {plural(len(report.sweep.runs), 'run')}"
    return element("section", joined(element("h2", title), parallel(report.sweep), screen.html))
