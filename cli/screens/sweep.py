"""What `telemetry sweep` shows: the best run first, then what decides, what fails, what is next."""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers, sparklines
from telemetry.cli.output.grid import Align, Column, Grid, Span, Style
from telemetry.cli.output.render import Screen
from telemetry.cli.output.texts import plural
from telemetry.cli.screens.sweep_tables import configuration_grid, curve_grid, front_grid, run_grid
from telemetry.compare.sweep.result import Method, Step
from telemetry.compare.terms import Direction
from telemetry.format.manifest import Status

if TYPE_CHECKING:
    from telemetry.compare.sweep.result import Failure, Parameter, Sweep, SweepRun

BAR_WIDTH = 10
SHOWN_RUNS = 5  # of a terminal; a pipe gets all
SHOWN_CURVES = 2
STEPS = {
    Step.EXTEND: "extend to",
    Step.NARROW: "narrow to",
    Step.AVOID: "stay in",
    Step.KEEP: "keep",
}
METHODS = {
    Method.FOREST: ("importance: share of the ranking explained, by random forest (fANOVA)"),
    Method.RANK_CORRELATION: ("importance: share of the ranking explained, by rank correlation"),
}


def show(screen: Screen, sweep: "Sweep") -> None:
    """The best run first, then parameters, failures, what to try, and the ranking."""
    screen.line(*_headline(sweep))
    _show_configurations(screen, sweep)
    _show_parameters(screen, sweep)
    _show_curves(screen, sweep.parameters)
    _show_failures(screen, sweep.failures)
    if sweep.suggestions:
        screen.blank()
    for entry in sweep.suggestions:
        text = f"{entry.parameter}: {STEPS[entry.step]} {entry.range}; {entry.reason}"
        screen.paragraph(text, indent=2, label="NEXT")
    if len(sweep.front) > 1 and not sweep.configurations:  # folds of one are alike in cost
        screen.blank()
        screen.note(Span("  metric against cost: best trade-offs (Pareto front)", Style.FAINT))
        screen.grid(front_grid(sweep))
    shown = sweep.runs[:SHOWN_RUNS] if screen.for_people else sweep.runs
    screen.blank()
    screen.grid(run_grid(sweep, shown))
    if sweep.is_smoothed:
        text = f"  {sweep.metric}: mean over the last tenth of the steps"
        screen.note(Span(text, Style.FAINT))
    if len(shown) < len(sweep.runs):
        screen.note(Span(f"  {len(sweep.runs) - len(shown)} more with --json", Style.FAINT))
    for warning in sweep.warnings if screen.keeps_warnings else ():
        screen.paragraph(warning, indent=2, label="warning")


def _headline(sweep: "Sweep") -> list[Span]:
    goal = "lowest" if sweep.goal is Direction.LOWER else "highest"
    n_failed = sum(entry.run.status in {Status.FAILED, Status.KILLED} for entry in sweep.runs)
    n_diverged = sum(entry.diverged for entry in sweep.runs)
    finite = [entry for entry in sweep.runs if entry.value is not None and not entry.diverged]
    return [
        Span(plural(len(sweep.runs), "run"), Style.STRONG),
        *([Span(f"{n_failed} failed", Style.ERROR)] if n_failed else []),
        *([Span(f"{n_diverged} diverged", Style.ERROR)] if n_diverged else []),
        Span(f"{goal} {sweep.metric}{' of training' if sweep.of_training else ''}"),
        *([_best(finite[0])] if finite else [Span("no finite value")]),
        *([Span(f"seed noise {numbers.number(sweep.seed_noise)}")] if sweep.seed_noise else []),
    ]


def _best(entry: "SweepRun") -> Span:
    return Span(f"best {entry.run.name} {entry.run.short} {numbers.number(entry.value)}")


def _show_configurations(screen: Screen, sweep: "Sweep") -> None:
    if not sweep.configurations:
        return
    shown = sweep.configurations[:SHOWN_RUNS] if screen.for_people else sweep.configurations
    screen.blank()
    screen.grid(configuration_grid(sweep, shown))
    best, *others = sweep.configurations
    alike = sum(one.behind_low <= 0 for one in others)
    text = f"the best of {plural(len(sweep.configurations), 'configuration')}"
    if alike:
        text += f"; {alike} of the others cannot be distinguished from it with these folds"
    elif others:
        text += ", better than each of the others"
    folds = plural(best.folds, "fold")
    screen.paragraph(f"{text} ({folds}, Nadeau-Bengio intervals).", indent=2, label="FOLDS")


def _show_parameters(screen: Screen, sweep: "Sweep") -> None:
    columns = (
        Column(header="PARAMETER", shrinks=True),
        Column(header="", rank=2),
        Column(header="IMPORTANCE", align=Align.RIGHT),
        Column(header="95 % INTERVAL", align=Align.RIGHT),
        Column(header="BEST REGION", shrinks=True),
        Column(header="low -> high", rank=1),
    )
    rows = tuple(
        (
            Span(entry.name, Style.STRONG if entry.important else Style.PLAIN),
            sparklines.bar(entry.importance, width=BAR_WIDTH),
            f"{entry.importance:.2f}",
            f"{entry.ci_low:.2f} .. {entry.ci_high:.2f}",
            entry.best if entry.important else Span(entry.best, Style.FAINT),
            screen.trend([point.median for point in entry.effect]),
        )
        for entry in sweep.parameters
    )
    if not rows:
        return
    screen.blank()
    screen.grid(Grid(columns=columns, rows=rows))
    screen.note(Span(f"  {METHODS[sweep.method]}", Style.FAINT))
    for pair in sweep.interactions:
        text = (
            f"{pair.first} and {pair.second} interact: together they explain {pair.share:.2f} "
            "more than separately"
        )
        screen.paragraph(text, indent=2, label="TOGETHER")
    for entry in sweep.parameters:
        if entry.condition:
            text = f"{entry.name} only matters where {entry.condition}"
            screen.paragraph(text, indent=2, label="ONLY")


def _show_curves(screen: Screen, parameters: Sequence["Parameter"]) -> None:
    """The response curves of what matters; a pipe gets those of all."""
    important = [entry for entry in parameters if entry.important and entry.effect]
    for entry in important[:SHOWN_CURVES] if screen.for_people else parameters:
        if entry.effect and not all(math.isnan(point.median) for point in entry.effect):
            screen.blank()
            screen.grid(curve_grid(entry))


def _show_failures(screen: Screen, failures: Sequence["Failure"]) -> None:
    if failures:
        screen.blank()
    for entry in failures:
        rule = (
            f", where {entry.rule} ({entry.matching_runs} of {entry.rule_runs} there, "
            f"{entry.failed_runs - entry.matching_runs} elsewhere)"
            if entry.conditions
            else "; no single parameter explains it"
        )
        text = f"{entry.detector} in {plural(entry.failed_runs, 'run')}{rule}"
        screen.paragraph(text, indent=2, label="FAILURE")
