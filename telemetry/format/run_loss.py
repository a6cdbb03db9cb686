"""The loss of a run: one number for a curve each of whose points is that of a single batch.

It is the mean over the last tenth of the steps, and the best is the lowest mean over as many: one
easy batch is no low loss, one hard batch no high one. A run of fewer than 20 steps has its last
loss and its lowest. Both halves take it from here: the one that records adds steps as they come,
the other adds those that it has read.

So that a run of any length takes the same memory, and losses that come in portions give what they
give together, a run of more than 1,024 steps is cut into stretches of a power of two of steps.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from telemetry.format.smoothing import SMOOTHED_FROM
from telemetry.json_values import Json

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

WINDOW_SHARE = 0.1  # of the steps seen; the window of the progress gate
SHORTEST_WINDOW = 3  # values
MOST_STRETCHES = 1024
TREND_POINTS = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLoss:
    """What a run counts with: its loss in the end, and where its curve was best.

    Attributes:
        last: Mean of the last window; what is not finite where the last value is not, NaN where
            most of the window is not.
        best: Best mean of finite values over a window of the same length; NaN if none is finite.
        best_step: The step at which that window ends.
    """

    last: float
    best: float
    best_step: int | None

    def to_json(self) -> dict[str, Json]:
        """The entry `loss` among the metrics of a run."""
        return {"last": self.last, "best": self.best, "best_step": self.best_step}


class Stretches(NamedTuple):
    """Losses added up over stretches that have any, shape (n,): where each ends, what is in it.

    Of several ranks, each is counted with its share: they are parts of one batch.
    """

    ends: Ints
    totals: Floats  # of finite values
    n_finite: Floats
    n_values: Floats


def stretch_length(first_step: int, last_step: int) -> int:
    """Steps in a stretch: the smallest power of two of which 1,024 cover the run."""
    doublings = (last_step - first_step).bit_length() - (MOST_STRETCHES - 1).bit_length()
    return 1 << max(0, doublings)


def window_length(n_values: int) -> int:
    """Values in a window of a curve of so many."""
    return max(SHORTEST_WINDOW, int(WINDOW_SHARE * n_values))


def loss_of(stretches: Stretches, last_value: float, *, higher_is_better: bool = False) -> RunLoss:
    """The loss of a run.

    Args:
        stretches: At least one, of `stretch_length` steps each, in order.
        last_value: The last recorded loss.
        higher_is_better: Whether the best mean is the highest one.
    """
    few = stretches.n_values.sum() < SMOOTHED_FROM
    width = 1 if few else window_length(stretches.ends.size)
    last = (
        last_value if few or not math.isfinite(last_value) else _mean_at_the_end(stretches, width)
    )
    known = stretches.n_finite > 0
    if not known.any():
        return RunLoss(last=last, best=math.nan, best_step=None)
    totals, counts = stretches.totals[known], stretches.n_finite[known]
    width = min(width, totals.size)
    means = _sums(totals, width) / _sums(counts, width)
    place = int(means.argmax() if higher_is_better else means.argmin())
    end = int(stretches.ends[known][place + width - 1])
    return RunLoss(last=last, best=float(means[place]), best_step=end)


def _mean_at_the_end(stretches: Stretches, width: int) -> float:
    n_finite = float(stretches.n_finite[-width:].sum())
    if 2 * n_finite <= float(stretches.n_values[-width:].sum()):
        return math.nan
    return float(stretches.totals[-width:].sum()) / n_finite


def _sums(values: Floats, width: int) -> Floats:
    """Sums over each window of so many neighbours."""
    windows = np.lib.stride_tricks.sliding_window_view(values, width)
    return np.asarray(windows.sum(axis=1), dtype=np.float64)


def _sums_from(values: Floats, starts: Ints) -> Floats:
    """Sums from each start up to and including its own place, shape (n,)."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return np.asarray(sums[1:] - sums[starts], dtype=np.float64)


class LossCurve:
    """Losses of a run in the order of their steps, in bounded memory.

    Attributes:
        last_step: The last step that was added, None before one was.
    """

    def __init__(self) -> None:
        self.last_step: int | None = None
        self._first, self._last_value = 0, math.nan
        self._length = 1
        self._ends = np.zeros(MOST_STRETCHES, dtype=np.int64)
        self._sums = np.zeros((3, MOST_STRETCHES))  # totals, finite values, values

    @classmethod
    def of(cls, steps: Ints, values: Floats) -> "LossCurve":
        """That of n increasing steps, shape (n,); NaN is a value."""
        curve = cls()
        curve.add(steps, values)
        return curve

    def add(self, steps: Ints, values: Floats) -> None:
        """Losses of further steps, shape (n,); they increase and come after all before."""
        if not steps.size:
            return
        if self.last_step is None:
            self._first = int(steps[0])
        self.last_step, self._last_value = int(steps[-1]), float(values[-1])
        while self._length < stretch_length(self._first, self.last_step):
            self._halve()
        places = (steps - self._first) // self._length
        finite = np.isfinite(values)
        np.maximum.at(self._ends, places, steps)
        for row, added in zip(
            self._sums, (np.where(finite, values, 0.0), finite, np.ones(steps.size)), strict=True
        ):
            np.add.at(row, places, added)

    def loss(self, *, higher_is_better: bool = False) -> RunLoss | None:
        """The loss of what was added; None for nothing."""
        if self.last_step is None:
            return None
        return loss_of(self._stretches(), self._last_value, higher_is_better=higher_is_better)

    def smoothed(self) -> tuple[Ints, Floats]:
        """Steps, and the mean loss over the last window at each: the curve whose end is `last`.

        From the first whole window on, its lowest value is `best`. Before it, and of few steps, the
        mean is over what there is. NaN where most of a window is not finite.
        """
        stretches = self._stretches()
        n, few = stretches.ends.size, stretches.n_values.sum() < SMOOTHED_FROM
        width = 1 if few else window_length(n)
        starts = np.maximum(np.arange(n) + 1 - width, 0)
        totals, n_finite, n_values = (_sums_from(row, starts) for row in stretches[1:])
        known = 2 * n_finite > n_values
        values = np.where(known, totals / np.maximum(n_finite, 1.0), math.nan)
        if n and not math.isfinite(self._last_value):
            values[-1] = self._last_value
        return stretches.ends, values

    def trend(self, n_steps: int) -> list[float]:
        """Mean losses of at most 12 equal parts of a run of so many steps.

        A part with a loss that is not finite is NaN; one without any loss is left out.
        """
        stretches = self._stretches()
        parts = np.minimum(stretches.ends * TREND_POINTS // max(n_steps, 1), TREND_POINTS - 1)
        sums = np.zeros((3, TREND_POINTS))
        for row, added in zip(sums, stretches[1:], strict=True):
            np.add.at(row, parts, added)
        totals, n_finite, n_values = sums[:, sums[2] > 0]
        means = totals / np.maximum(n_finite, 1.0)
        return [float(value) for value in np.where(n_finite < n_values, math.nan, means)]

    def _stretches(self) -> Stretches:
        filled = self._sums[2] > 0
        totals, n_finite, n_values = self._sums[:, filled]
        return Stretches(self._ends[filled], totals, n_finite, n_values)

    def _halve(self) -> None:
        """Half as many stretches, each of two former ones."""
        self._length *= 2
        half = MOST_STRETCHES // 2
        self._ends[:half] = self._ends.reshape(half, 2).max(axis=1)
        self._sums[:, :half] = self._sums.reshape(3, half, 2).sum(axis=2)
        self._ends[half:] = 0
        self._sums[:, half:] = 0
