"""What a reader of a sweep must know before believing it."""

from collections.abc import Sequence

from telemetry.compare.settings.config_changes import flat
from telemetry.compare.sweep.crossings import open_order
from telemetry.compare.sweep.curves import MetricSource, SweepCurves
from telemetry.compare.sweep.effects import inseparable
from telemetry.compare.sweep.forest import FEWEST_RUNS, is_available
from telemetry.compare.sweep.parameters import Varied
from telemetry.compare.sweep.result import Failure, Sweep, SweepRun
from telemetry.compare.terms import Direction
from telemetry.format.manifest import Status

RUNS_PER_PARAMETER = 4  # below this the importances of several parameters run into each other
FEWEST_RUNS_TO_TELL = 8  # fewer runs leave even a strong parameter inside the null band
CHANCE_TO_MENTION = 0.05
SHOWN_NAMES = 5


def runs_needed(n_parameters: int) -> int:
    """Configurations from which "no effect" of one of so many parameters says anything."""
    return max(FEWEST_RUNS_TO_TELL, RUNS_PER_PARAMETER * n_parameters)


def run_warnings(entries: Sequence[SweepRun], curves: SweepCurves, goal: Direction) -> list[str]:
    """A metric of training, missing values, runs that go on, curves that cross."""
    warnings = _of_training(curves)
    lacking = [e.run.short for e in entries if e.value is None and not e.diverged]
    if lacking:
        warnings.append(
            f"{curves.metric} is missing in {_some(lacking)}; these runs do not count in the "
            "importance."
        )
    running = [entry.run.short for entry in entries if entry.run.status is Status.RUNNING]
    if running:
        warnings.append(f"still running: {_some(running)}; their current values are used.")
    short = [e.run.short for e in entries if e.cut_short and e.run.status is not Status.RUNNING]
    if short:
        warnings.append(
            f"stopped early: {_some(short)}; each is compared with the others at the step it "
            "reached."
        )
    return [*warnings, *_crossing(entries, curves, goal)]


def parameter_warnings(parameters: Sequence[Varied], n_rows: int) -> list[str]:
    """Too few runs, parameters that vary together, a forest that cannot be grown."""
    if not parameters:
        return [
            (
                "no parameter differs between the runs; record parameters with "
                "TelemetryCallback(config=...)."
            )
        ]
    warnings: list[str] = []
    needed = runs_needed(len(parameters))
    if n_rows < needed:
        warnings.append(
            f"{n_rows} runs are too few to estimate the importance of "
            f"{'1 parameter' if len(parameters) == 1 else f'{len(parameters)} parameters'}; "
            f"about {needed} are needed."
        )
    if n_rows >= FEWEST_RUNS and not is_available():
        warnings.append(
            "scikit-learn is not installed: importance uses rank correlation, which separates "
            "several parameters less well; pip install 'training-telemetry[sweep]'."
        )
    warnings += [
        f"{left} and {right} vary together, so their effects cannot be separated."
        for left, right in inseparable(parameters)
    ]
    return warnings


def failure_warnings(failures: Sequence[Failure]) -> list[str]:
    """Rules that chance gives as well."""
    return [
        f"{failure.detector}: {failure.rule!r} is weak evidence: {100 * failure.chance:.0f} % "
        "chance of coincidence (a rule as good appears in that share of shuffled sweeps)."
        for failure in failures
        if failure.rule and failure.chance > CHANCE_TO_MENTION
    ]


def share_warnings(n_left_out: int) -> list[str]:
    """Runs whose scores are no repeated measures of what the others measure."""
    if not n_left_out:
        return []
    are = "1 run is" if n_left_out == 1 else f"{n_left_out} runs are"
    return [
        (
            f"{are} of inner folds or of a holdout and used another share of the data; they are "
            "listed, but count neither in the importance nor in the folds."
        )
    ]


def fold_warnings(sweep: Sweep) -> list[str]:
    """Folds that are not averaged, or missing."""
    if not sweep.configurations:
        keys = {key for entry in sweep.runs for key in flat(entry.parameters)}
        folds = sorted(key for key in keys if key.lower().rpartition(".")[2] == "fold")
        return [f"the runs differ in {folds[0]}; --folds averages over it."] if folds else []
    n_missing = sum(bool(one.missing) for one in sweep.configurations)
    lacking = f"{n_missing} of {len(sweep.configurations)} configurations lack folds"
    return [f"{lacking}, so their means are over different folds."] if n_missing else []


def _of_training(curves: SweepCurves) -> list[str]:
    if curves.source is MetricSource.EVALUATION:
        return []
    told = f"the runs are ranked by {curves.metric}, which was measured in training"
    if curves.source is MetricSource.TRAINING:
        return [f"{told} and does not show how well runs do on other data."]
    return [
        (
            f"{told} because no validation metric was recorded; a good value may be "
            "overfitting. Log one: telemetry.log(val_loss=...)."
        )
    ]


def _crossing(entries: Sequence[SweepRun], curves: SweepCurves, goal: Direction) -> list[str]:
    alive = [
        entry
        for entry in entries
        if not entry.diverged and not entry.cut_short and entry.run.key in curves.values
    ]
    order = open_order([curves.values[entry.run.key] for entry in alive], goal)
    if order is None:
        return []
    leader, winner = alive[order.leader].run.short, alive[order.winner].run.short
    ahead = (
        "" if leader == winner else f" (at step {order.early_step} {leader} was ahead of {winner})"
    )
    text = (
        f"the runs are ranked at step {order.last_step}, but the order still changes{ahead}: "
        f"ranks at step {order.early_step} and at the end have a correlation of only "
        f"{order.correlation:.2f}. Longer runs may rank differently."
    )
    return [text]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN_NAMES])
    left = len(names) - SHOWN_NAMES
    return shown if left <= 0 else f"{shown} and {left} more"
