"""The order of runs: by what every run has, by a metric, or by a setting of its configuration."""

import math
from collections.abc import Callable, Mapping, Sequence

from telemetry.errors import UsageError
from telemetry.json_values import Json
from telemetry.metric_direction import higher_is_better
from telemetry.store.runs.run import Run

COLUMNS: Mapping[str, Callable[[Run], str | int]] = {
    "started": lambda run: run.started,
    "steps": lambda run: run.steps,
    "name": lambda run: run.name,
    "project": lambda run: run.project,
    "status": lambda run: run.status,
}
NEWEST_OR_LARGEST_FIRST = frozenset({"started", "steps"})


def sorted_runs(runs: Sequence[Run], column: str | None) -> list[Run]:
    """The runs by a column, the best metric or the newest first; those without it at the end.

    Args:
        runs: Runs, newest first.
        column: One of COLUMNS, a metric (its last value), or a key of the configuration.

    Raises:
        UsageError: no run has such a column; the message names what there is.
    """
    if column is None or not runs:
        return list(runs)
    if column in COLUMNS:
        descending = column in NEWEST_OR_LARGEST_FIRST
        return sorted(runs, key=COLUMNS[column], reverse=descending)
    if any(column in run.metrics for run in runs):
        sign = -1 if higher_is_better(column) else 1
        return sorted(runs, key=lambda run: _metric_key(run.last_value(column), sign))
    if any(column in run.config for run in runs):
        return sorted(runs, key=lambda run: _setting_key(run.config.get(column)))
    metrics = sorted({name for run in runs for name in run.metrics})
    settings = sorted({key for run in runs for key in run.config})
    raise UsageError(
        f"--sort {column!r} is not a column, metric or setting; choose "
        f"{', '.join([*COLUMNS, *metrics, *settings])}."
    )


def _metric_key(value: float | None, sign: int) -> tuple[bool, float]:
    is_known = value is not None and not math.isnan(value)
    return (not is_known, sign * value if value is not None and is_known else 0.0)


def _setting_key(value: Json) -> tuple[int, float, str]:
    if isinstance(value, int | float):
        return (0, float(value), "")
    return (2 if value is None else 1, 0.0, str(value))
