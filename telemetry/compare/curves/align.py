"""Curves of runs on common ground: the same steps, the same final window."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from telemetry.compare.terms import Direction
from telemetry.format.run_loss import (
    SHORTEST_WINDOW,
    WINDOW_SHARE,
    LossCurve,
    RunLoss,
    window_length,
)
from telemetry.format.smoothing import SMOOTHED_FROM

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One metric of one run: increasing steps and values, shape (n,); NaN is a value.

    `of_batches`: each value is that of a single batch, so the mean of many is the run's, as of the
    loss of the steps. The others were evaluated, and their median is the run's.
    """

    steps: Ints
    values: Floats
    of_batches: bool = False

    def __len__(self) -> int:
        return int(self.steps.size)

    @property
    def is_smoothed(self) -> bool:
        """Whether its final and best values are means over a tenth of it."""
        return self.of_batches and len(self) >= SMOOTHED_FROM

    def until(self, step: int) -> "Series":
        """The part up to and including a step."""
        return self.part(0, int(np.searchsorted(self.steps, step, side="right")))

    def part(self, first: int, end: int) -> "Series":
        """Points first..end-1."""
        return replace(self, steps=self.steps[first:end], values=self.values[first:end])

    def final_window(self) -> Floats:
        """What the final value is read from: the last tenth of the steps, or the last point."""
        if len(self) < SMOOTHED_FROM:
            return self.values[-1:]
        span = int(self.steps[-1] - self.steps[0]) + 1
        after = self.steps[-1] - WINDOW_SHARE * span
        size = int(np.count_nonzero(self.steps > after))
        return self.values[-max(size, SHORTEST_WINDOW) :]

    def final(self) -> float:
        """Median of the final window, or the last value of few; NaN where most are not finite.

        Of batches it is the mean, and NaN where the last value is not finite.
        """
        loss = self._loss(Direction.LOWER)
        if loss is not None:
            return loss.last if math.isfinite(loss.last) else math.nan
        window = self.final_window()
        finite = window[np.isfinite(window)]
        return median_of(finite) if 2 * finite.size > window.size else math.nan

    def not_finite_from(self) -> int:
        """The step after the last finite value; the last step where the last value is finite."""
        finite = np.flatnonzero(np.isfinite(self.values))
        first = int(finite[-1]) + 1 if finite.size else 0
        return int(self.steps[min(first, len(self) - 1)])

    def smoothed(self) -> Floats:
        """Finite values, each the mean over a tenth of them; of few points the values themselves.

        Shape (m,), m at most n. A single batch's lucky loss is no best value.
        """
        finite = self.values[np.isfinite(self.values)]
        if finite.size < SMOOTHED_FROM:
            return finite
        width = window_length(finite.size)
        sums = np.cumsum(np.concatenate([[0.0], finite]))
        return np.asarray((sums[width:] - sums[:-width]) / width, dtype=np.float64)

    def best(self, direction: Direction) -> float:
        """The best smoothed value; NaN if none is finite."""
        loss = self._loss(direction)
        if loss is not None:
            return loss.best
        values = self.smoothed()
        if not values.size:
            return math.nan
        return float(values.min() if direction is Direction.LOWER else values.max())

    def _loss(self, direction: Direction) -> RunLoss | None:
        if not self.of_batches:
            return None
        curve = LossCurve.of(self.steps, self.values)
        return curve.loss(higher_is_better=direction is Direction.HIGHER)

    def area(self, first: int, last: int) -> float:
        """Mean height of the curve from position `first` to `last`: trapezoids over their width.

        Outside of what was recorded the nearest value counts; NaN if none is finite.
        """
        finite = np.isfinite(self.values)
        if not finite.any():
            return math.nan
        steps, values = self.steps[finite], self.values[finite]
        inside = (steps > first) & (steps < last)
        x = np.concatenate([[first], steps[inside], [last]]).astype(np.float64)
        y = np.interp(x, steps, values)
        return float(np.trapezoid(y, x) / (last - first)) if last > first else float(y[-1])

    def around(self, share: float) -> float:
        """Typical finite value at a share of the steps seen, over a window of a tenth of them."""
        span = int(self.steps[-1] - self.steps[0])
        centre = self.steps[0] + share * span
        near = np.abs(self.steps - centre) <= WINDOW_SHARE / 2 * (span + 1)
        values = self.values[near & np.isfinite(self.values)]
        if values.size:
            return median_of(values)
        return float(self.values[min(int(np.searchsorted(self.steps, centre)), len(self) - 1)])


def median_of(values: Floats) -> float:
    """Median of at least one finite value, shape (n,); ten times as quick as numpy's on few."""
    ordered = np.sort(values)
    middle = ordered.size // 2
    if ordered.size % 2:
        return float(ordered[middle])
    return float((ordered[middle - 1] + ordered[middle]) / 2)


def common_horizon(groups: Sequence[Series]) -> int:
    """The last step that every run has reached."""
    return min(int(series.steps[-1]) for series in groups)


def common_start(groups: Sequence[Series]) -> int:
    """The first step from which on every run has a value."""
    return max(int(series.steps[0]) for series in groups)


def paired(base: Series, candidate: Series) -> tuple[Ints, Floats, Floats]:
    """Steps and both curves' values where both are finite, each of shape (n,).

    Where fewer than half of the sparser run's steps are shared (other cadences), the denser run
    gives its latest value at each step of the sparser one.
    """
    steps, left, right = np.intersect1d(
        base.steps, candidate.steps, assume_unique=True, return_indices=True
    )
    pair = base.values[left], candidate.values[right]
    if 2 * steps.size < min(len(base), len(candidate)):
        sparse = min(base, candidate, key=lambda s: (len(s), int(s.steps[0]), int(s.steps[-1])))
        start = max(int(base.steps[0]), int(candidate.steps[0]))
        end = min(int(base.steps[-1]), int(candidate.steps[-1]))
        steps = sparse.steps[(sparse.steps >= start) & (sparse.steps <= end)]
        pair = _latest(base, steps), _latest(candidate, steps)
    finite = np.isfinite(pair[0]) & np.isfinite(pair[1])
    return steps[finite], pair[0][finite], pair[1][finite]


def _latest(series: Series, steps: Ints) -> Floats:
    return series.values[np.searchsorted(series.steps, steps, side="right") - 1]
