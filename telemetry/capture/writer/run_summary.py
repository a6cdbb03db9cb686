"""What `runs` shows of a run without opening its tables: last and best of every metric, steps.

The loss is smoothed as `telemetry.format.run_loss` says; a metric is as it was logged.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from telemetry.format.run_loss import LossCurve
from telemetry.json_values import Json
from telemetry.metric_direction import higher_is_better

METRICS_LIMIT = 400  # names; a manifest has 256 KiB
NAME_LIMIT = 200  # characters
LOSS = "loss"

Series = tuple[str, npt.NDArray[np.int64], npt.NDArray[np.float64]]


class RunSummary:
    """Follows the rows of `steps` and `metrics` on their way to the disk.

    Attributes:
        metrics: {name: {last, best, best_step}}; best over finite values, NaN without one. That of
            the loss is the loss of the steps, wherever there is one.
        n_steps: One more than the last step with a row.
    """

    def __init__(self) -> None:
        self.metrics: dict[str, Mapping[str, Json]] = {}
        self.n_steps = 0
        self._losses = LossCurve()

    def observe(self, table: str, rows: pa.Table) -> None:
        """Take note of rows, in the order in which they were recorded.

        Args:
            table: Name of the table; only `steps` and `metrics` count.
            rows: With the columns of the table that are used here, at least `step`.
        """
        if table == "steps" and rows.num_rows:
            self.n_steps = max(self.n_steps, int(pc.max(rows.column("step")).as_py()) + 1)
        for name, steps, values in _series(table, rows):
            if table == "steps":
                self._losses.add(steps, values)
                self._note_loss()
            elif name == LOSS and self.loss_to is not None:
                continue  # a metric of the same name
            elif name in self.metrics or len(self.metrics) < METRICS_LIMIT:
                entry = _summarised(name, steps, values)
                former = self.metrics.get(name)
                self.metrics[name] = entry if former is None else merged(name, former, entry)

    @property
    def loss_to(self) -> int | None:
        """The last step of which there is a loss."""
        return self._losses.last_step

    @property
    def loss_trend(self) -> list[float]:
        """The curve of the loss in a few points, for the list of runs."""
        return self._losses.trend(self.n_steps)

    def _note_loss(self) -> None:
        found = self._losses.loss()
        if found is not None:
            self.metrics[LOSS] = found.to_json()


def merged(name: str, former: Mapping[str, Json], later: Mapping[str, Json]) -> Mapping[str, Json]:
    """One entry of two: the later one's last value, and the better one's best."""
    before, after = _finite(former.get("best")), _finite(later.get("best"))
    if before is None:
        return later
    if after is not None and (after > before if higher_is_better(name) else after < before):
        return later
    return {"last": later["last"], "best": before, "best_step": former.get("best_step")}


def _finite(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _series(table: str, rows: pa.Table) -> Iterator[Series]:
    """(name, steps, values) of every metric in the rows; rows without a value are left out."""
    value = {"steps": "loss", "metrics": "value"}.get(table)
    if value is None or value not in rows.column_names:
        return
    rows = rows.filter(pc.is_valid(rows.column(value)))
    if table == "steps":
        yield from _arrays(LOSS, rows, value)
        return
    names = rows.column("name")
    for name in pc.unique(names).to_pylist():
        yield from _arrays(name, rows.filter(pc.equal(names, name)), value)


def _arrays(name: str, rows: pa.Table, value: str) -> Iterator[Series]:
    if rows.num_rows:
        steps = np.asarray(rows.column("step").to_numpy(), dtype=np.int64)
        yield name[:NAME_LIMIT], steps, np.asarray(rows.column(value).to_numpy(), dtype=np.float64)


def _summarised(
    name: str, steps: npt.NDArray[np.int64], values: npt.NDArray[np.float64]
) -> Mapping[str, Json]:
    last = float(values[-1])
    finite = np.isfinite(values)
    if not finite.any():
        return {"last": last, "best": math.nan, "best_step": None}
    worst = -math.inf if higher_is_better(name) else math.inf
    candidates = np.where(finite, values, worst)
    index = int(candidates.argmax() if higher_is_better(name) else candidates.argmin())
    return {"last": last, "best": float(values[index]), "best_step": int(steps[index])}
