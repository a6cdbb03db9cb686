"""Where each run of a sweep stands among the others, also when it was cut short.

A pruned run is no bad run of full length, and its last value must not be compared with the last
value of a run that trained ten times longer. Two runs of which one was cut short are compared at
the last step that both reached.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.compare.curves.align import Series
from telemetry.compare.terms import Direction

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Contestant:
    """One run: its curve (None without one), what it counts with, and how it ended.

    `best_counts`: the value at a step is the best one until then, else the latest.
    """

    curve: Series | None
    value: float | None
    diverged: bool
    cut_short: bool
    best_counts: bool


def standings(contestants: Sequence[Contestant], goal: Direction) -> Floats:
    """1 for a run that beats all others, n for one that all beat; ties share; shape (n,).

    Runs that diverged tie for the last place. Among runs of full length these are the ranks of
    their values. Every run must have a value or have diverged.
    """
    sign = 1.0 if goal is Direction.LOWER else -1.0
    final = np.array(
        [np.inf if c.diverged or c.value is None else sign * c.value for c in contestants]
    )
    mine = np.tile(final[:, None], (1, final.size))
    cut = np.array([c.cut_short and not c.diverged for c in contestants])
    if cut.any():
        at_common = _at_common_steps(contestants, sign)
        either = (cut[:, None] | cut[None, :]) & np.isfinite(final)[:, None]
        either &= np.isfinite(final)[None, :]
        mine = np.where(either, at_common, mine)
    beaten_by = np.count_nonzero(mine > mine.T, axis=1)
    ties = np.count_nonzero(mine == mine.T, axis=1) - 1
    return np.asarray(1.0 + beaten_by + ties / 2, dtype=np.float64)


def _at_common_steps(contestants: Sequence[Contestant], sign: float) -> Floats:
    """Value of each run at the last step that it and each other run reached, shape (n, n)."""
    last = np.array([_last_step(c) for c in contestants])
    steps, place = np.unique(last, return_inverse=True)
    table = np.array([_values_at(c, steps, sign) for c in contestants])
    common = np.minimum(place[:, None], place[None, :])
    return np.take_along_axis(table, common, axis=1)


def _last_step(contestant: Contestant) -> int:
    curve = contestant.curve
    return int(curve.steps[-1]) if curve is not None and len(curve) else -1


def _values_at(contestant: Contestant, steps: npt.NDArray[np.int64], sign: float) -> Floats:
    """Signed value at each step, the worst where there is none yet; lower is better."""
    curve = contestant.curve
    if curve is None or not len(curve):
        return np.full(steps.size, np.inf)
    values = np.where(np.isfinite(curve.values), sign * curve.values, np.inf)
    if contestant.best_counts:
        values = np.minimum.accumulate(values)
    reached = np.searchsorted(curve.steps, steps, side="right") - 1
    return np.where(reached >= 0, values[np.maximum(reached, 0)], np.inf)
