"""The runs of a sweep with what they reached, what they cost and how they ended."""

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import numpy as np

from telemetry.compare.settings.config_changes import flat, varies
from telemetry.compare.sweep.curves import SweepCurves
from telemetry.compare.sweep.pareto import undominated
from telemetry.compare.sweep.result import SweepRun
from telemetry.compare.terms import Direction
from telemetry.format.manifest import Status
from telemetry.store.runs.run import Run

PRUNED_TAG = "pruned"  # what a training says of itself when a scheduler stopped it
PLAN_REACHED = 0.9  # of the planned steps, below which a run was cut short


def sweep_entries(runs: Sequence[Run], curves: SweepCurves, goal: Direction) -> list[SweepRun]:
    """Every run with the settings that differ anywhere, seeds included."""
    configs = [flat(run.config) for run in runs]
    keys = sorted({key for config in configs for key in config})
    varied = [key for key in keys if varies(config.get(key) for config in configs)]
    entries = [
        SweepRun(
            run=run,
            parameters={key: config.get(key) for key in varied},
            value=curves.value(run.key, goal),
            diverged=curves.diverged(run.key),
            cut_short=_cut_short(run),
            seconds=_seconds(run),
            n_parameters=curves.n_parameters.get(run.key),
        )
        for run, config in zip(runs, configs, strict=True)
    ]
    on_front = undominated([_costs(entry, goal) for entry in entries])
    return [
        replace(entry, on_front=bool(one)) for entry, one in zip(entries, on_front, strict=True)
    ]


def place(entry: SweepRun, goal: Direction) -> tuple[bool, bool, float]:
    """Sort key: best first, then the diverged, then runs without the metric."""
    value = math.inf if entry.value is None else entry.value
    worse_up = value if goal is Direction.LOWER or entry.value is None else -value
    return entry.value is None and not entry.diverged, entry.diverged, worse_up


def seed_noise(entries: Sequence[SweepRun], repeats: Sequence[Sequence[int]]) -> float | None:
    """Standard deviation of the metric between runs that differ in nothing but seeds or folds.

    Args:
        entries: Runs that have a value or diverged.
        repeats: Positions of those that repeat one configuration, as `grouped` gives them.
    """
    values = np.array(
        [np.nan if e.diverged or e.value is None else e.value for e in entries], dtype=np.float64
    )
    found = [values[list(places)] for places in repeats]
    known = [group[np.isfinite(group)] for group in found]
    groups = [group for group in known if group.size > 1]
    if not groups:
        return None
    squares = sum(float(np.var(group)) * group.size for group in groups)
    return math.sqrt(squares / sum(group.size - 1 for group in groups))


def _cut_short(run: Run) -> bool:
    if run.status in {Status.RUNNING, Status.KILLED, Status.FAILED}:
        return True
    planned = run.manifest.total_steps if run.manifest else None
    short = planned is not None and run.steps < PLAN_REACHED * planned
    return short or PRUNED_TAG in {tag.lower() for tag in run.tags}


def _costs(entry: SweepRun, goal: Direction) -> list[float]:
    """Metric, time and size, lower is better; infinite where unknown or of no use."""
    if entry.value is None or entry.diverged:
        return [math.inf] * 3
    value = entry.value if goal is Direction.LOWER else -entry.value
    unknown = math.inf
    seconds = unknown if entry.seconds is None else entry.seconds
    return [value, seconds, unknown if entry.n_parameters is None else entry.n_parameters]


def _seconds(run: Run) -> float | None:
    """How long the processes of a run lived together; None where the manifest does not say."""
    attempts = run.manifest.attempts if run.manifest else ()
    spans = [_span(attempt.started, attempt.ended or _heartbeat(run)) for attempt in attempts]
    known = [span for span in spans if span is not None]
    return sum(known) if known and len(known) == len(spans) else None


def _heartbeat(run: Run) -> str:
    return run.manifest.heartbeat if run.manifest else ""


def _span(started: str, ended: str) -> float | None:
    try:
        seconds = (datetime.fromisoformat(ended) - datetime.fromisoformat(started)).total_seconds()
    except (TypeError, ValueError):
        return None
    return max(seconds, 0.0)
