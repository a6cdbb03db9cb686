"""Show one run: its curves, model, optimizer, what was recorded, and what is wrong with it.

Examples:
  telemetry show latest
  telemetry show 7f3a
  telemetry show demo/base --json
"""

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

import telemetry
from telemetry.cli.cached_diagnosis import known_diagnosis
from telemetry.cli.options import Settings, complete_runs, verb
from telemetry.cli.output import numbers, sparklines
from telemetry.cli.output.grid import Align, Cell, Column, Grid, Span, Style, counted
from telemetry.cli.output.render import TREND_WIDTH, Screen, open_screen
from telemetry.cli.screens import findings as finding_lines
from telemetry.cli.screens.run_lines import (
    cadence_of,
    capture_line,
    count_attempts,
    every_of,
    headline,
    lost_lines,
    model_line,
    overhead_of,
    trained_line,
)
from telemetry.cli.screens.store_warnings import show_warnings
from telemetry.errors import StoreUnreadable
from telemetry.json_values import Json
from telemetry.metric_direction import tells_direction

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from telemetry.diagnose.finding import Diagnosis
    from telemetry.store.runs.flight_rows import LostSteps
    from telemetry.store.runs.run import Run
    from telemetry.store.summaries.summaries import Curve, Curves, Description, Footprint
    from telemetry.store.summaries.trained_parameters import TrainedParameters

GROUP = "Look"
SHOWN_CURVES, SHOWN_SETTINGS = 24, 24  # of a terminal; a pipe gets all
FIRST_CURVES = ("loss", "grad_norm")
LAST_CURVES = ("lr", "step_s")
RATE_PREFIX = "lr/"  # of the learning rates of further parameter groups
TRAIN_PREFIX = "train"


@verb(__name__, __doc__)
@click.argument("run", metavar="[RUN]", shell_complete=complete_runs, default="latest")
@click.pass_obj
def command(settings: Settings, *, run: str) -> None:
    """Read everything once, then write it."""
    screen = open_screen(settings)
    summary = read_summary(telemetry.Store.open(settings.store), run)
    show_warnings(screen, summary.warnings)
    if screen.wants_json:
        screen.json(summary.to_json())
    else:
        show(screen, summary)


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """Everything the screen says."""

    run: "Run"
    curves: "Curves"
    description: "Description"
    footprint: "Footprint"
    trained: "TrainedParameters"
    diagnosis: "Diagnosis"
    warnings: tuple[str, ...]
    lost_steps: "tuple[LostSteps, ...]" = ()

    def to_json(self) -> dict[str, Json]:
        """Body of `show --json`."""
        manifest, timing = self.run.manifest, self.curves.timing
        return {
            "run": self.run.to_json(),
            "attempts": count_attempts(self.run),
            "error": manifest.error if manifest else None,
            "dropped_rows": self.run.dropped_rows,
            "refused_values": self.run.refused_values,
            "lost_steps": [asdict(lost) for lost in self.lost_steps],
            "elapsed_s": timing.elapsed_s,
            "environment": manifest.environment if manifest else {},
            "model": self.description.model,
            "optimizers": self.description.optimizers,
            "trained": self.trained.to_json(),
            "capture": {
                "cadence": cadence_of(self.run, self.description),
                "every": every_of(self.run),
                "overhead_share": overhead_of(self.run, timing),
                "n_samples": self.footprint.n_samples,
                "n_steps": self.run.steps,
                "n_bytes": self.footprint.n_bytes,
                "n_tensor_rows": self.footprint.n_tensor_rows,
                "bytes_per_tensor_row": self.footprint.bytes_per_tensor_row,
            },
            "metrics": [_curve_json(curve) for curve in self.curves.curves],
            "findings": [finding.to_json() for finding in self.diagnosis.findings],
            "suppressed": [entry.to_json() for entry in self.diagnosis.suppressed],
            "state": self.diagnosis.state,
        }


def _best(curve: "Curve") -> "tuple[float, int] | None":
    """The best value and its step; None for what has no better direction, as a learning rate."""
    is_goal = tells_direction(curve.name) and curve.name not in LAST_CURVES
    return curve.best if is_goal else None


def _curve_json(curve: "Curve") -> dict[str, Json]:
    best = _best(curve)
    return {
        "name": curve.name,
        "phase": curve.phase,
        "n": int(curve.values.size),
        "first": curve.first,
        "last": curve.last,
        "best": best[0] if best else None,
        "best_step": best[1] if best else None,
        "direction": "higher" if curve.higher_is_better else "lower",
        "trend": sparklines.condense(curve.values.tolist(), TREND_WIDTH),
    }


def read_summary(store: "telemetry.Store", selector: str) -> Summary:
    """The run of a selector, with its curves, its description and its diagnosis.

    Raises:
        StoreUnreadable: the manifest cannot be read.
    """
    from telemetry.store.runs.attempts import attempt_starts  # noqa: PLC0415 - as below
    from telemetry.store.runs.flight_rows import lost_steps  # noqa: PLC0415 - as below
    from telemetry.store.summaries.summaries import (  # noqa: PLC0415 - keeps --help fast
        footprint,
        run_curves,
        run_description,
    )
    from telemetry.store.summaries.trained_parameters import trained_parameters  # noqa: PLC0415 - as above

    run = store.select(selector)
    if run.manifest is None:
        raise StoreUnreadable(f"run {run.run} cannot be shown: {run.reason}")
    with store.session([run]) as session:
        return Summary(
            run=run,
            curves=run_curves(session, run),
            description=run_description(session, run),
            footprint=footprint(session, run),
            trained=trained_parameters(session, run),
            diagnosis=known_diagnosis(store, run),
            warnings=session.warnings,
            lost_steps=tuple(lost_steps(run, attempt_starts(run))),
        )


def show(screen: Screen, summary: Summary) -> None:
    """What it is, its curves, and what is wrong with it."""
    run, timing = summary.run, summary.curves.timing
    screen.line(*headline(run, timing))
    described = model_line(summary.description)
    if described:
        screen.paragraph(described, indent=2, label="model")
    trained = trained_line(summary.trained)
    if trained:
        screen.paragraph(trained, indent=2, label="trained")
    screen.paragraph(
        capture_line(run, summary.description, timing, summary.footprint),
        indent=2,
        label="capture",
    )
    for text in lost_lines(run, summary.lost_steps):
        screen.paragraph(text, indent=2, label="lost")
    if run.config:
        screen.paragraph(_config(screen, run), indent=2, label="config")
    _show_curves(screen, summary.curves)
    _show_findings(screen, summary)


def _config(screen: Screen, run: "Run") -> str:
    settings = [f"{key} {numbers.literal(value)}" for key, value in run.config.items()]
    shown = settings[:SHOWN_SETTINGS] if screen.for_people else settings
    more = len(settings) - len(shown)
    return ", ".join([*shown, *([f"{more} more with --json"] if more else [])])


def _show_curves(screen: Screen, curves: "Curves") -> None:
    if not curves.curves:
        screen.paragraph("no optimizer step and no metric was recorded", indent=2, label="curves")
        return
    ordered = in_order(curves.curves)
    shown = ordered[:SHOWN_CURVES] if screen.for_people else ordered
    columns = (
        Column(header="METRIC", shrinks=True),
        Column(header="FIRST", align=Align.RIGHT),
        Column(header="BEST", align=Align.RIGHT),
        Column(header="@step", align=Align.RIGHT),
        Column(header="LAST", align=Align.RIGHT),
        Column(header="trend"),
        Column(header="", rank=1),
    )
    remarks = _remarks(curves)
    rows = tuple(_curve_row(screen, curve, remarks.get(curve.name, "")) for curve in shown)
    screen.blank()
    screen.grid(Grid(columns=columns, rows=rows))
    if any(curve.is_smoothed for curve in shown):
        screen.note(
            Span("  BEST and LAST of the loss are means over a tenth of the steps", Style.FAINT)
        )
    if len(shown) < len(ordered):
        screen.note(Span(f"  {len(ordered) - len(shown)} more with --json", Style.FAINT))


def in_order(curves: "Sequence[Curve]") -> "list[Curve]":
    """Loss and gradient norm, metrics by what they say about the run, rates and times."""
    from telemetry.compare.curves.metric_names import by_importance  # noqa: PLC0415 - keeps --help fast

    names = by_importance(curve.name for curve in curves)

    def key(curve: "Curve") -> tuple[int, int]:
        if curve.name in FIRST_CURVES:
            return (0, FIRST_CURVES.index(curve.name))
        if curve.name in LAST_CURVES or curve.name.startswith(RATE_PREFIX):
            return (2, names.index(curve.name))
        return (1, names.index(curve.name))

    return sorted(curves, key=key)


def _curve_row(screen: Screen, curve: "Curve", remark: str) -> tuple[Cell, ...]:
    write = _writer(curve.name)
    best = _best(curve)
    # The name of a rate or of `train_loss` says so itself.
    is_said = curve.name.startswith((RATE_PREFIX, TRAIN_PREFIX))
    return (
        f"{curve.name} ({curve.phase})" if curve.phase == "train" and not is_said else curve.name,
        write(curve.first),
        write(best[0] if best else None),
        counted(best[1]) if best else numbers.NOTHING,
        write(curve.last),
        screen.trend(curve.values.tolist()),
        Span(remark, Style.FAINT),
    )


def _writer(name: str) -> "Callable[[float | None], str]":
    if name == "lr" or name.startswith(RATE_PREFIX):
        return numbers.literal
    return numbers.duration if name.endswith("_s") else numbers.number


def _remarks(curves: "Curves") -> dict[str, str]:
    """What a reader should know of a curve besides its numbers, by its name."""
    timing, names = curves.timing, [curve.name for curve in curves.curves]
    rates = [name for name in names if name.startswith(RATE_PREFIX)]
    found = {name: f"parameter group {name.removeprefix(RATE_PREFIX)}" for name in rates}
    if rates:
        found["lr"] = "parameter group 0"
    if timing.clipped_share > 0:
        found["grad_norm"] = f"clipped on {numbers.percent(timing.clipped_share)} of steps"
    if timing.data_share > 0:
        found["step_s"] = f"data wait {numbers.percent(timing.data_share)}"
    return found


def _show_findings(screen: Screen, summary: Summary) -> None:
    diagnosis = summary.diagnosis
    screen.blank()
    finding_lines.show_findings(screen, diagnosis)
    n_passed, n_skipped = len(diagnosis.passed), len(diagnosis.not_checked)
    words = f"{n_passed} passed, {n_skipped} not checked; state: {diagnosis.state}"
    if diagnosis.findings:
        more = f"telemetry diagnose {summary.run.short}"
        screen.note(Span(words, Style.FAINT), Span(more, Style.FAINT))
    else:
        screen.line(finding_lines.silence(diagnosis), words)
