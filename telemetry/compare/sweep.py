"""Reads the runs of a sweep: the best ones, what decides, and why runs failed."""

import math
from collections.abc import Sequence

import numpy as np

from telemetry.compare.config_changes import canonical, flat, is_repeat_key
from telemetry.compare.diff_result import Direction
from telemetry.compare.effects import best_region, effect, inseparable
from telemetry.compare.failures import attribute_failures
from telemetry.compare.importance import importances, mean_ranks
from telemetry.compare.metric_names import direction_of
from telemetry.compare.parameters import Varied, varied_parameters
from telemetry.compare.stored_findings import roots_of_runs
from telemetry.compare.sweep_curves import SweepCurves, order_is_open, read_sweep
from telemetry.compare.sweep_result import Failure, Parameter, Sweep, SweepRun
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.manifest import Status
from telemetry.store.catalog import Run
from telemetry.store.store import Store

RUNS_PER_PARAMETER = 4  # below this the importances of several parameters run into each other
FEWEST_RUNS_TO_TELL = 8  # fewer runs leave even a strong parameter inside the null band
CHANCE_TO_MENTION = 0.05
ORDER_LIMIT = 0.7  # rank correlation of the runs at three quarters with the end


def sweep_runs(
    store: Store,
    runs: Sequence[Run],
    *,
    metric: str | None = None,
    goal: Direction | None = None,
    policy: Policy = DEFAULT_POLICY,
) -> Sweep:
    """Ranks the runs of a sweep and says which hyperparameters decide and why runs failed.

    A run counts with the best value of a logged metric, or with the final median of the training
    loss; one that diverged is kept and ranks last. Parameters are the configuration keys that
    differ; seeds and folds number repetitions and are no parameters.

    Args:
        store: Where the runs lie.
        runs: At least two runs.
        metric: What ranks them; by default a validation loss, a validation accuracy, another
            evaluated metric, or the training loss, whichever most runs have.
        goal: Which way is better, where the metric's name does not tell.
        policy: How the runs are diagnosed, as for `diagnose_run`.

    Raises:
        UsageError: fewer than two runs, or a metric that none of them recorded.
        Inconclusive: the runs recorded neither a loss nor an evaluation.
    """
    runs = tuple({run.ref.path: run for run in runs}.values())
    if len(runs) < 2:  # noqa: PLR2004 - one run has nothing to be compared with
        raise UsageError(f"a sweep needs two runs at least, got {len(runs)}; see `telemetry runs`.")
    with store.session(runs) as session:
        curves = read_sweep(session, metric)
    goal = goal or direction_of(curves.metric)
    entries = _entries(runs, curves, goal)
    failures, unread = _failures(store, runs, policy)
    judged = [entry for entry in entries if entry.value is not None or entry.diverged]
    parameters = varied_parameters([entry.run.config for entry in judged])
    return Sweep(
        metric=curves.metric,
        goal=goal,
        runs=tuple(sorted(entries, key=lambda entry: _place(entry, goal))),
        parameters=_parameters(parameters, judged, goal),
        failures=failures,
        warnings=(
            *_run_warnings(entries, curves, goal),
            *_parameter_warnings(parameters, len(judged)),
            *unread,
        ),
        seed_noise=seed_noise(judged),
    )


def seed_noise(entries: Sequence[SweepRun]) -> float | None:
    """Standard deviation of the metric between runs that differ in nothing but seeds or folds."""
    same: dict[str, list[float]] = {}
    for entry in entries:
        if entry.value is not None and not entry.diverged:
            config = {k: v for k, v in flat(entry.run.config).items() if not is_repeat_key(k)}
            same.setdefault(canonical(config), []).append(entry.value)
    groups = [np.array(values) for values in same.values() if len(values) > 1]
    if not groups:
        return None
    squares = sum(float(np.var(values)) * values.size for values in groups)
    return math.sqrt(squares / sum(values.size - 1 for values in groups))


def _entries(runs: Sequence[Run], curves: SweepCurves, goal: Direction) -> list[SweepRun]:
    """Every run with the settings that differ anywhere, seeds included."""
    configs = [flat(run.config) for run in runs]
    keys = sorted({key for config in configs for key in config})
    varied = [k for k in keys if len({canonical(config.get(k)) for config in configs}) > 1]
    return [
        SweepRun(
            run=run,
            parameters={key: config.get(key) for key in varied},
            value=curves.value(run.run, goal),
            diverged=curves.diverged(run.run),
        )
        for run, config in zip(runs, configs, strict=True)
    ]


def _place(entry: SweepRun, goal: Direction) -> tuple[bool, bool, float]:
    """Sort key: best first, then the diverged, then runs without the metric."""
    value = math.inf if entry.value is None else entry.value
    worse_up = value if goal is Direction.LOWER or entry.value is None else -value
    return entry.value is None and not entry.diverged, entry.diverged, worse_up


def _parameters(
    parameters: Sequence[Varied], entries: Sequence[SweepRun], goal: Direction
) -> tuple[Parameter, ...]:
    """Importance, effect and best region of each parameter, the most important first."""
    values = np.array(
        [math.nan if e.diverged or e.value is None else e.value for e in entries], dtype=np.float64
    )
    ranks = mean_ranks(values if goal is Direction.LOWER else -values)
    found = [
        Parameter(
            name=parameter.name,
            importance=importance.share,
            ci_low=importance.low,
            ci_high=importance.high,
            important=importance.important,
            best=best_region(parameter, ranks) if importance.important else "not separable",
            effect=effect(parameter, values),
        )
        for parameter, importance in zip(parameters, importances(parameters, ranks), strict=True)
    ]
    return tuple(sorted(found, key=lambda entry: (-entry.important, -entry.importance)))


def _failures(
    store: Store, runs: Sequence[Run], policy: Policy
) -> tuple[tuple[Failure, ...], list[str]]:
    """Failures attributed to parameters, and warnings for runs that could not be diagnosed."""
    outcomes = roots_of_runs(store, runs, policy)
    read = [(run, roots) for run, roots in outcomes if not isinstance(roots, StoreUnreadable)]
    warnings = [
        f"{run.run} is not diagnosed: {error}"
        for run, error in outcomes
        if isinstance(error, StoreUnreadable)
    ]
    detectors = sorted(set().union(*(roots for _, roots in read)))
    masks = {name: np.array([name in roots for _, roots in read]) for name in detectors}
    failures = attribute_failures(varied_parameters([run.config for run, _ in read]), masks)
    warnings += [
        f"{failure.detector}: a rule as good as {failure.rule!r} comes up by chance in "
        f"{failure.chance:.0%} of shuffled sweeps of this size."
        for failure in failures
        if failure.rule and failure.chance > CHANCE_TO_MENTION
    ]
    return failures, warnings


def _run_warnings(entries: Sequence[SweepRun], curves: SweepCurves, goal: Direction) -> list[str]:
    warnings: list[str] = []
    lacking = [e.run.short for e in entries if e.value is None and not e.diverged]
    if lacking:
        warnings.append(
            f"{curves.metric} is missing in {_some(lacking)}; they take no part in the importance."
        )
    running = [entry.run.short for entry in entries if entry.run.status is Status.RUNNING]
    if running:
        warnings.append(f"still running: {_some(running)}; their values are those of now.")
    alive = [
        curves.values[e.run.run] for e in entries if not e.diverged and e.run.run in curves.values
    ]
    if order_is_open(alive, goal, ORDER_LIMIT):
        warnings.append(
            "learning curves still cross: the order of the runs changes in the last quarter; "
            "longer runs may rank differently."
        )
    return warnings


def _parameter_warnings(parameters: Sequence[Varied], n_runs: int) -> list[str]:
    if not parameters:
        return ["no parameter differs between the runs; record it: TelemetryCallback(config=...)."]
    warnings: list[str] = []
    needed = max(FEWEST_RUNS_TO_TELL, RUNS_PER_PARAMETER * len(parameters))
    if n_runs < needed:
        warnings.append(
            f"{n_runs} runs are too few to tell the importance of {len(parameters)} parameters; "
            f"about {needed} would do."
        )
    warnings += [
        f"{left} and {right} vary together; their effects cannot be told apart."
        for left, right in inseparable(parameters)
    ]
    return warnings


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:5])
    return shown if len(names) <= 5 else f"{shown} and {len(names) - 5} more"  # noqa: PLR2004
