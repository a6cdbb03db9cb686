"""Reads the runs of a sweep: the best ones, what decides, why runs failed, what to try next."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from telemetry.compare.curves.metric_names import direction_of
from telemetry.compare.settings.repeats import grouped
from telemetry.compare.sweep.configurations import configurations, of_one_share
from telemetry.compare.sweep.curves import MetricSource
from telemetry.compare.sweep.entries import place, seed_noise, sweep_entries
from telemetry.compare.sweep.failures import attribute_failures
from telemetry.compare.sweep.parameter_effects import judged, outcomes
from telemetry.compare.sweep.parameters import varied_parameters
from telemetry.compare.sweep.reading import Progress, SweepReading, read_sweep
from telemetry.compare.sweep.result import Failure, Sweep, SweepRun
from telemetry.compare.sweep.suggestions import suggestions
from telemetry.compare.sweep.warnings import (
    failure_warnings,
    fold_warnings,
    parameter_warnings,
    run_warnings,
    share_warnings,
)
from telemetry.compare.terms import Direction
from telemetry.diagnose.policy import DEFAULT_POLICY, Policy
from telemetry.errors import StoreUnreadable, UsageError
from telemetry.format.manifest import Status
from telemetry.format.smoothing import SMOOTHED_FROM
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

DIVERGED = "diverged"  # stands for a detector where none names a cause
FAILED = "failed"


def sweep_runs(
    store: Store,
    runs: Sequence[Run],
    *,
    metric: str | None = None,
    goal: Direction | None = None,
    policy: Policy = DEFAULT_POLICY,
    folds: bool = False,
    progress: Progress = iter,
) -> Sweep:
    """Ranks the runs of a sweep and says which hyperparameters decide and why runs failed.

    A run counts with the best value of a logged metric, or with the training loss of its last tenth
    of steps; one that diverged is kept and ranks last, one that was cut short is compared with the
    others at the step it reached. Parameters are the configuration keys that differ; seeds and
    folds number repetitions and are no parameters.

    Args:
        store: Where the runs lie.
        runs: At least two runs.
        metric: What ranks them; by default a validation loss, a validation accuracy, another
            evaluated metric, or the training loss, whichever most runs have.
        goal: Which way is better, where the metric's name does not tell.
        policy: How the runs are diagnosed, as for `diagnose_run`.
        folds: Also average over the folds of each configuration.
        progress: Goes through the runs that have to be read; `telemetry sweep` draws a bar.

    Raises:
        UsageError: fewer than two runs, a metric that none of them recorded, or no folds where
            they were asked for.
        Inconclusive: the runs recorded neither a loss nor an evaluation.
    """
    runs = list({run.ref.path: run for run in runs}.values())
    if len(runs) < 2:  # noqa: PLR2004 - one run has nothing to be compared with
        raise UsageError(
            f"a sweep needs at least two runs, found {len(runs)}; see `telemetry runs`."
        )
    runs = store.with_metrics(runs)
    read = read_sweep(store, runs, metric, policy, progress)
    curves = read.curves
    goal = goal or direction_of(curves.metric)
    entries = sweep_entries(runs, curves, goal)
    failures, unread = _failures(read, entries)
    of_one = of_one_share(entries)
    counted = {entry.run.key for entry in of_one}
    taking_part = [entry for entry in of_one if entry.value is not None or entry.diverged]
    repeats = grouped([entry.run for entry in taking_part])
    found = outcomes(taking_part, repeats, curves, goal)
    judgement = judged(found, lambda outcomes, compute: read.shelf.weighed(runs, outcomes, compute))
    read.shelf.save()
    n_rows = found.ranks.size
    sweep = Sweep(
        metric=curves.metric,
        of_training=curves.source is not MetricSource.EVALUATION,
        is_smoothed=not curves.best_counts and any(run.steps >= SMOOTHED_FROM for run in runs),
        goal=goal,
        method=judgement.method,
        runs=tuple(
            sorted(entries, key=lambda entry: (entry.run.key not in counted, *place(entry, goal)))
        ),
        parameters=tuple(
            sorted(judgement.parameters, key=lambda one: (-one.important, -one.importance))
        ),
        interactions=judgement.interactions,
        failures=failures,
        suggestions=suggestions(
            found.parameters,
            judgement.parameters,
            judgement.regions,
            failures,
        ),
        configurations=configurations(entries, goal) if folds else (),
        seed_noise=seed_noise(taking_part, repeats),
        damage=read.damage,
        warnings=(
            *run_warnings(entries, curves, goal),
            *share_warnings(len(entries) - len(of_one)),
            *parameter_warnings(found.parameters, n_rows),
            *failure_warnings(failures),
            *unread,
        ),
    )
    return replace(sweep, warnings=(*sweep.warnings, *fold_warnings(sweep)))


def _failures(
    reading: SweepReading, entries: Sequence[SweepRun]
) -> tuple[tuple[Failure, ...], list[str]]:
    """Failures attributed to parameters, and warnings for runs that could not be diagnosed."""
    read: list[tuple[SweepRun, frozenset[str]]] = []
    warnings: list[str] = []
    for entry in entries:
        roots = reading.roots[entry.run.key]
        if isinstance(roots, StoreUnreadable):
            warnings.append(f"{entry.run.run} could not be diagnosed: {roots}")
        else:
            read.append((entry, roots or _unexplained(entry)))
    detectors = sorted(set().union(*(roots for _, roots in read)))
    masks = {name: np.array([name in roots for _, roots in read]) for name in detectors}
    parameters = varied_parameters([entry.run.config for entry, _ in read])
    return attribute_failures(parameters, masks), warnings


def _unexplained(entry: SweepRun) -> frozenset[str]:
    """How a run without a finding came to a bad end, if it did."""
    if entry.diverged:
        return frozenset({DIVERGED})
    return frozenset({FAILED}) if entry.run.status is Status.FAILED else frozenset()
