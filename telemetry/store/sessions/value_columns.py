"""Metrics and settings of runs as columns of the view `runs`, by the names that `--sort` takes.

A metric has its last value, a setting the value of the configuration. Where two would have one
name, the column of the view wins over a metric and a metric over a setting; SQL does not tell
`LR` from `lr`, so the one that comes first in the alphabet has the name.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa

from telemetry import json_values
from telemetry.json_values import Json, json_number
from telemetry.store.runs.run import Run

METRIC_DOC, SETTING_DOC = "Last value of the metric.", "Setting of the configuration."
LOSS, LOSS_DOC = "loss", "Mean loss over the last tenth of the steps."
SQL_TYPES = {
    pa.bool_(): "BOOLEAN",
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.string(): "VARCHAR",
}
INTEGER_LIMIT = 2**63


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ValueColumn:
    """One metric or setting of n runs, NULL where a run has none, shape (n,)."""

    name: str
    doc: str
    values: pa.Array

    @property
    def type(self) -> str:
        """Its type in SQL."""
        return SQL_TYPES[self.values.type]


def value_columns(runs: Sequence[Run], taken: Sequence[str]) -> Iterator[ValueColumn]:
    """The metrics of runs, then their settings, each by name.

    Args:
        runs: The rows, with their metrics.
        taken: Names that other columns have.
    """
    used = {name.lower() for name in taken}
    metrics = [{name: run.last_value(name) for name in run.metrics} for run in runs]
    for doc, rows in ((METRIC_DOC, metrics), (SETTING_DOC, [run.config for run in runs])):
        for name in sorted({name for row in rows for name in row}):
            if _can_name_a_column(name) and name.lower() not in used:
                used.add(name.lower())
                yield ValueColumn(
                    name=name, doc=doc, values=_array([row.get(name) for row in rows])
                )


def _can_name_a_column(name: str) -> bool:
    return bool(name) and "\0" not in name and name.isprintable()


def _array(values: Sequence[Json]) -> pa.Array:
    """In the narrowest type that has all of them; texts where they are of several."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return pa.array(values, type=pa.bool_())
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in known):
        return pa.array([None if value is None else _text(value) for value in values], pa.string())
    if known and all(isinstance(v, int) and -INTEGER_LIMIT <= v < INTEGER_LIMIT for v in known):
        return pa.array(values, type=pa.int64())
    return pa.array([json_number(value) for value in values], type=pa.float64())


def _text(value: Json) -> str:
    text = value if isinstance(value, str) else json_values.dumps(value)
    return text.encode("utf-8", "replace").decode()
