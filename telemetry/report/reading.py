"""Reads what a report says of runs: each in detail, their curves, how they compare."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from telemetry.compare.diff.diff import diff_runs
from telemetry.compare.plot.plot import MOST_RUNS, NO_RUN, plot_runs
from telemetry.compare.sweep.sweep import sweep_runs
from telemetry.diagnose.diagnose import diagnosis_of
from telemetry.diagnose.finding import Diagnosis
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy
from telemetry.errors import Inconclusive, StoreUnreadable, UsageError
from telemetry.report.result import Report, RunReport
from telemetry.store.runs.run import Run
from telemetry.store.store import Store
from telemetry.store.summaries.layer_maps import dead_unit_map, update_ratio_map
from telemetry.store.summaries.norm_map import norm_map
from telemetry.store.summaries.summaries import footprint, run_curves, run_description
from telemetry.store.summaries.trained_parameters import trained_parameters
from telemetry.store.summaries.weight_spreads import weight_spreads
from telemetry.trials.stored import stored_tries

MOST_DETAILED = 6  # runs; of more a page would be too long to read
FEWEST_OF_A_SWEEP = 3
STRETCHES = 60
RIDGE_STEPS, RIDGE_PARAMETERS = 8, 24

T = TypeVar("T")


def report_runs(
    store: Store,
    sides: Sequence[Sequence[Run]],
    *,
    metrics: Sequence[str] | None = None,
    policy: Policy = DEFAULT_POLICY,
    diagnose: Callable[[Run], Diagnosis] | None = None,
) -> Report:
    """Everything that a page about runs shows.

    Args:
        store: Where the runs lie.
        sides: Runs as they were named. Two sides are compared as base and candidate; three runs
            and more are looked at as a sweep otherwise.
        metrics: Names of curves instead of the usual ones.
        policy: How the runs are diagnosed, as for `diagnose_run`.
        diagnose: Judges each run that is shown in detail, for who asks again and again; the
            default is what the run keeps, else a new diagnosis.

    Raises:
        UsageError: no run was given, or a metric that none of them recorded.
        StoreUnreadable: the only run cannot be read.
    """
    runs, notes = _readable(store, sides)
    judge = diagnose or partial(diagnosis_of, store, policy=policy)
    kept = {run.key for run in runs}
    pair = [[run for run in side if run.key in kept] for side in sides]
    is_pair = len(pair) == 2 and all(pair)  # noqa: PLR2004 - base and candidate
    diff = sweep = None
    if is_pair:
        compared = partial(diff_runs, store, pair[0], pair[1], policy=policy)
        diff = _unless_unclear(compared, "comparison", notes)
    elif len(runs) >= FEWEST_OF_A_SWEEP:
        sweep = _unless_unclear(partial(sweep_runs, store, runs, policy=policy), "sweep", notes)
        runs = [entry.run for entry in sweep.runs] if sweep else runs
    plotted = partial(plot_runs, store, runs[:MOST_RUNS], metrics=metrics)
    plot = _unless_unclear(plotted, "curves", notes)
    detailed = runs[:MOST_DETAILED]
    warnings = (*(plot.warnings if plot else ()), *(diff.warnings if diff else ()))
    return Report(
        n_runs=len(runs),
        runs=tuple(_run_report(store, run, judge) for run in detailed),
        plot=plot,
        diff=diff,
        sweep=sweep,
        notes=(*notes, *_left_out(len(runs))),
        warnings=tuple(dict.fromkeys(warnings)),
    )


def _readable(store: Store, sides: Sequence[Sequence[Run]]) -> tuple[list[Run], list[str]]:
    """Each run once, and why some of them cannot be shown."""
    runs = list({run.ref.path: run for side in sides for run in side}.values())
    if not runs:
        raise UsageError(NO_RUN)
    broken = [run for run in runs if run.manifest is None]
    if len(broken) == len(runs):
        raise StoreUnreadable(f"run {runs[0].run} cannot be shown: {runs[0].reason}")
    notes = [f"{run.run} is left out: {run.reason}" for run in broken]
    readable = [run for run in runs if run.manifest is not None]
    return list(store.with_metrics(readable)), notes


def _left_out(n_runs: int) -> list[str]:
    """What a page of many runs does not show."""
    notes = []
    if n_runs > MOST_RUNS:
        notes.append(f"Curves are drawn of {MOST_RUNS} of {n_runs} runs.")
    if n_runs > MOST_DETAILED:
        notes.append(
            f"{MOST_DETAILED} of {n_runs} runs are shown in detail; `telemetry report RUN` does so "
            "for any of them."
        )
    return notes


def _unless_unclear(read: Callable[[], T], part: str, notes: list[str]) -> T | None:
    """What was read; where the runs allow no answer, None and a note of why."""
    try:
        return read()
    except Inconclusive as error:
        notes.append(f"No {part}: {error}")
        return None


def _run_report(store: Store, run: Run, diagnose: Callable[[Run], Diagnosis]) -> RunReport:
    with store.session([run]) as session:
        n_steps, points = run.steps, STRETCHES
        return RunReport(
            run=run,
            timing=run_curves(session, run).timing,
            description=run_description(session, run),
            footprint=footprint(session, run),
            trained=trained_parameters(session, run),
            diagnosis=diagnose(run),
            tries=tuple(stored_tries(store, run)),
            norms=norm_map(session, run, n_steps=n_steps, points=points),
            update_ratios=update_ratio_map(session, run, n_steps=n_steps, points=points),
            dead_units=dead_unit_map(session, run, n_steps=n_steps, points=points),
            weights=weight_spreads(
                session, run, most_steps=RIDGE_STEPS, most_parameters=RIDGE_PARAMETERS
            ),
        )
