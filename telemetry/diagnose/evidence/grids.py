"""Rows in long form as dense grids: one line a sampled step, one column a layer or parameter."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.judgement.robust import FloatArray, IntArray, thinned
from telemetry.store.sessions.rows import Rows

HEAD_SAMPLES = 32  # first samples that are always kept: faults of the start show there


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """Values of one statistic, shape (n_steps, n_ids); NaN where a step has no row.

    `ids` are those of parameters (`param_id`) or modules (`module_id`).
    """

    steps: IntArray
    ids: tuple[int, ...]
    values: FloatArray

    def columns(self, ids: Sequence[int]) -> "Grid":
        """The same grid with exactly these columns, in this order; NaN for an unknown id."""
        place = {own: index for index, own in enumerate(self.ids)}
        values = np.full((self.steps.size, len(ids)), np.nan)
        for index, wanted in enumerate(ids):
            if wanted in place:
                values[:, index] = self.values[:, place[wanted]]
        return Grid(steps=self.steps, ids=tuple(ids), values=values)

    def column(self, wanted: int) -> FloatArray:
        """The values of one id that are not missing; empty for an unknown id."""
        values = self.columns([wanted]).values[:, 0]
        return values[~np.isnan(values)]

    def thinned(self, keep: int) -> "Grid":
        """At most `keep` of its steps: the first ones, then evenly spaced."""
        kept = thinned(self.steps.size, keep=keep, head=min(HEAD_SAMPLES, keep // 2))
        return Grid(steps=self.steps[kept], ids=self.ids, values=self.values[kept, :])

    def seen(self) -> frozenset[int]:
        """Ids that have a value at any step."""
        some = np.flatnonzero((~np.isnan(self.values)).any(axis=0))
        return frozenset(self.ids[place] for place in some.tolist())


NO_GRID = Grid(steps=np.zeros(0, dtype=np.int64), ids=(), values=np.zeros((0, 0)))


def grids(rows: Rows) -> defaultdict[str, Grid]:
    """Grids by signal of rows with the columns `signal`, `step`, `id`, `value`.

    At most one row per signal, step and id counts; an unknown signal gives an empty grid.
    """
    found: defaultdict[str, Grid] = defaultdict(lambda: NO_GRID)
    if not len(rows):
        return found
    signals, names = rows.codes("signal")
    ids, steps, values = rows.ints("id"), rows.ints("step"), rows.floats("value")
    for index, signal in enumerate(names):
        kept = np.flatnonzero(signals == index)
        found[signal] = _grid(steps[kept], ids[kept], values[kept])
    return found


def _grid(steps: IntArray, ids: IntArray, values: FloatArray) -> Grid:
    lines, line_of = np.unique(steps, return_inverse=True)
    used, column_of = np.unique(ids, return_inverse=True)
    dense = np.full((lines.size, used.size), np.nan)
    dense[line_of, column_of] = values
    return Grid(steps=lines, ids=tuple(used.tolist()), values=dense)
