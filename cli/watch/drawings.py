"""What the panels of `telemetry watch` draw: a view in, lines of text out."""

import math
from typing import TYPE_CHECKING

import numpy as np
from rich.text import Text

from telemetry.cli.output import numbers, sparklines
from telemetry.cli.output.grid import SEVERITY_MARKS, SEVERITY_STYLES, Style
from telemetry.cli.output.render import fold
from telemetry.cli.output.texts import cells, in_ascii, pad, plural
from telemetry.cli.screens.findings import place, silence, stands_alone, when
from telemetry.cli.screens.plot import Canvas, chart_lines
from telemetry.cli.screens.run_lines import STATUS_STYLES, cadence_of, model_line, overhead_of
from telemetry.cli.watch.view import View
from telemetry.format.manifest import Status
from telemetry.safe_text import clean

if TYPE_CHECKING:
    import numpy.typing as npt

    from telemetry.compare.watch.sight import Sight
    from telemetry.finding import Finding

WAITING = "waiting for the first step"
NAME_SHARE = 3  # a layer's name takes at most a third of the width
# Viridis, from a small norm to a large one; the character says the same without colours.
HEAT = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")
BROKEN = "X"
LEAST_DECADES = 1.0  # that the scale of the map spans: noise must not look like a trend
LABEL_WIDTH = 11


def curves(view: View, width: int, height: int) -> list[Text]:
    """One metric of all runs; its name and last values stand above the chart."""
    if not view.metrics:
        return [Text(WAITING)]
    metric = view.metrics[view.metric % len(view.metrics)]
    place_of, n = view.metric % len(view.metrics) + 1, len(view.metrics)
    last = ", ".join(
        f"{clean(curve.run.name)} {numbers.number(curve.last)}" for curve in metric.curves
    )
    head = Text(f"{clean(metric.name)}  {place_of} of {n}  last {last}", style="bold")
    canvas = Canvas(
        width=width,
        height=max(height - 1, 4),
        has_colours=view.has_colours,
        has_unicode=view.has_unicode,
    )
    lines = chart_lines(canvas, metric)
    return [head, *(Text.from_ansi(line) for line in lines or ["no value is finite"])]


def layers(view: View, width: int, height: int) -> list[Text]:
    """Gradient norms, a line a layer and a column a stretch of steps; the scale stands above."""
    del height
    sight = view.sight
    chosen = [] if sight is None else _chosen_layers(view, sight)
    if sight is None or not chosen:
        return [Text(WAITING if not view.sought else f"no layer is called {view.sought!r}")]
    names = [clean(sight.norms.layers[index]) or "(root)" for index in chosen]
    name_width = min(max(map(cells, names)), width // NAME_SHARE)
    columns = max(width - name_width - 1, 1)
    norms = _columns(sight.norms.norms[chosen], columns)
    low, high = _extremes(norms)
    lines = []
    for name, row in zip(names, norms, strict=True):
        line = Text(pad(name[-name_width:], name_width) + " ")
        lines.append(line.append_text(_heat(view, row, low, high)))
    levels = "".join(_levels(view))
    scale = f"{numbers.compact(10**low)} {levels} {numbers.compact(10**high)}"
    steps = f"steps 0 to {numbers.count(max(sight.norms.n_steps - 1, 0))}"
    return [Text(f"{scale}  {steps}", style="dim"), *lines]


def _chosen_layers(view: View, sight: "Sight") -> list[int]:
    return [index for index, name in enumerate(sight.norms.layers) if view.matches([name])]


def _columns(norms: "npt.NDArray[np.float64]", columns: int) -> "npt.NDArray[np.float64]":
    """Logarithms of the norms in so many columns at most: the largest norm of each.

    A run of few samples has a column a sample, each as wide as there is room for.
    """
    n_sampled = int((~np.isnan(norms)).any(axis=0).sum())
    n_parts = max(min(columns, n_sampled), 1)
    with np.errstate(divide="ignore"):
        logs = np.log10(norms)
    parts = np.array_split(logs, n_parts, axis=1)
    filled = [np.where(np.isnan(part), -np.inf, part).max(axis=1) for part in parts]
    known = [(~np.isnan(part)).any(axis=1) for part in parts]
    joined = np.where(np.stack(known, axis=1), np.stack(filled, axis=1), np.nan)
    return np.repeat(joined, columns // n_parts, axis=1)


def _extremes(logs: "npt.NDArray[np.float64]") -> tuple[float, float]:
    finite = logs[np.isfinite(logs)]
    if not finite.size:
        return 0.0, LEAST_DECADES
    low, high = float(finite.min()), float(finite.max())
    spare = max(LEAST_DECADES - (high - low), 0.0) / 2
    return low - spare, high + spare


def _levels(view: View) -> str:
    return sparklines.BLOCKS if view.has_unicode else sparklines.ASCII_LEVELS


def _heat(view: View, row: "npt.NDArray[np.float64]", low: float, high: float) -> Text:
    """One layer; a norm of zero is the lowest level, what is not finite a cross."""
    levels, line = _levels(view), Text()
    for value in row.tolist():
        if math.isnan(value):
            line.append(" ")
        elif value == math.inf:
            line.append(BROKEN, style=str(Style.ERROR))
        else:
            share = (max(value, low) - low) / (high - low)
            level = min(int(share * len(levels)), len(levels) - 1)
            line.append(levels[level], style=HEAT[level] if view.has_colours else "")
    return line


def findings(view: View, width: int, height: int) -> list[Text]:
    """What is wrong: causes with their messages, consequences in a line each."""
    sight = view.sight
    if sight is None or sight.diagnosis is None:
        return [Text("not diagnosed yet")]
    diagnosis = sight.diagnosis
    if not diagnosis.findings:
        said = silence(diagnosis)
        return _folded(view, said.text, width, style=str(said.style))
    shown = [one for one in diagnosis.findings if view.matches([one.detector, one.layer])]
    lines: list[Text] = []
    has_room = height > 3 * len(shown)
    for finding in shown:
        is_root = stands_alone(finding, diagnosis.suppressed)
        lines += _finding(view, finding, width, is_new=finding.detector in sight.fresh)
        if is_root:
            lines += _folded(view, finding.message, width, indent=2)
        if is_root and has_room and finding.advice:
            lines += _folded(view, f"try: {finding.advice}", width, indent=2, style="green")
    return lines or [Text(f"no finding contains {view.sought!r}")]


def _finding(view: View, finding: "Finding", width: int, *, is_new: bool) -> list[Text]:
    mark = SEVERITY_MARKS[finding.severity]
    words = [finding.detector, place(finding), when(finding), "new" if is_new else ""]
    text = " ".join(word for word in words if word and word != numbers.NOTHING)
    first, *more = _folded(view, text, width - 2)
    style = str(SEVERITY_STYLES[finding.severity])
    return [
        Text.assemble((f"{mark} ", style), first),
        *(Text("  ").append_text(line) for line in more),
    ]


def figures(view: View, width: int, height: int) -> list[Text]:
    """Pace, budget, and what is trained."""
    del height
    sight = view.sight
    if sight is None:
        return [Text(WAITING)]
    run, timing = sight.run, sight.timing
    overhead, cadence = overhead_of(run, timing), cadence_of(run, sight.description)
    pace, planned = sight.steps_per_s, sight.planned_steps
    facts = [
        ("step", numbers.count(run.steps) + (f" of {numbers.count(planned)}" if planned else "")),
        ("pace", "" if pace is None else f"{numbers.number(pace)} steps/s"),
        ("left", "" if sight.left_s is None else numbers.duration(sight.left_s)),
        ("elapsed", numbers.duration(timing.elapsed_s)),
        ("data wait", _percent(timing.data_share)),
        ("clipped", _percent(timing.clipped_share)),
        ("overhead", "" if overhead is None else numbers.percent(overhead)),
        ("sampled", "" if cadence is None else f"every {plural(cadence, 'step')}"),
        ("model", model_line(sight.description)),
    ]
    return [
        line
        for name, value in facts
        if value and value != numbers.NOTHING
        for line in _labelled(view, name, value, width)
    ]


def _percent(share: float) -> str:
    return numbers.percent(share) if math.isfinite(share) else ""


def heading(view: View, width: int, *, age_s: float | None) -> Text:
    """The run that is shown, how it is, and which of how many."""
    sight = view.sight
    if sight is None:
        return Text("reading")
    run = sight.run
    if run.status is not Status.RUNNING:
        age_s = None  # nothing more will come of it
    n_runs = len(view.sights)
    parts = [
        (clean(run.name), "bold"),
        (run.short, ""),
        (str(run.status), str(STATUS_STYLES[run.status])),
        (f"{numbers.count(run.steps)} steps", ""),
        (f"run {view.place + 1} of {n_runs}" if n_runs > 1 else "", ""),
        (f"filter {view.sought!r}" if view.sought else "", "yellow"),
        ("" if age_s is None else f"read {numbers.age(age_s)} ago", "dim"),
    ]
    line = Text("  ").join(Text(text, style=style) for text, style in parts if text)
    line.truncate(width)
    return line


def _labelled(view: View, name: str, value: str, width: int) -> list[Text]:
    label = pad(name, LABEL_WIDTH)
    lines = _folded(view, value, width - LABEL_WIDTH)
    return [
        Text(label if not place_of else " " * LABEL_WIDTH, style="dim").append_text(line)
        for place_of, line in enumerate(lines)
    ]


def _folded(view: View, text: str, width: int, *, indent: int = 0, style: str = "") -> list[Text]:
    known = text if view.has_unicode else in_ascii(text)
    return [Text(line, style=style) for line in fold(known, width=width, indent=indent, label="")]
