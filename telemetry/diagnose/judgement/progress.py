"""The gate of progress: is the run learning?

An odd statistic is a fault only in a run that does not learn. The verdict works on ratios of the
loss to its own noise and level, so multiplying it by a constant changes nothing.
"""

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from telemetry.diagnose.judgement.robust import (
    MEDIAN_INEFFICIENCY,
    TREND_POINTS,
    FloatArray,
    step_noise,
    trend,
)

MIN_LOSSES = 20  # fewer say nothing about progress
SIGNAL_LIMIT = 4.0  # z: slowest healthy 4.9, stalled 3.1 (measured on small networks)
DROP_LIMIT = 0.03  # r: slowest healthy 0.073, stalled 0.026 (measured)
BASELINE_SHARE = 0.98  # a loss above this share of the constant predictor's has learned nothing
CONVERGED_SHARE = 0.5
STALLED_SHARE = 0.9
DIVERGED_FACTOR = 1.5
SIGNED_RISE = 16.0  # ranges of the first losses: learning at most 0, blown up 360 to 790 (measured)
LARGE_DROP = 0.15  # seen from a few first losses, or on the way down from a bad start
START_LOSSES = 10  # the level at which a run starts
RESOLUTION = 0.15  # a fall of this share must be excluded before a run counts as stalled
LARGEST = 1e100  # beyond, differences and products of losses overflow
FLAT_Z = 2.0
FLAT_CHANGE = 0.01


class State(StrEnum):
    """Whether the run learns."""

    LEARNING = "learning"
    CONVERGED = "converged"
    STALLED = "stalled"
    DIVERGED = "diverged"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """Verdict on the loss curve; `start`, `end`, `noise` are in the unit of the loss.

    z is the fall in standard errors, r relative to the start, both of the window where the fall
    is clearest; `rise` is the end above the start in standard errors; `falls` says that the last
    third still falls; `reason` says why the state is unknown. `measurable` is False where the loss
    does not tell progress at all: too few, of either sign, or of adversaries; else unknown means
    noisy.
    """

    state: State
    z: float = 0.0
    r: float = 0.0
    rise: float = 0.0
    start: float = float("nan")
    end: float = float("nan")
    noise: float = 0.0
    flat: bool = False
    falls: bool = False
    measurable: bool = True
    reason: str = ""

    @property
    def failing(self) -> bool:
        """The run demonstrably does not learn; unknown is not failing."""
        return self.state in {State.STALLED, State.DIVERGED}

    @property
    def improving(self) -> bool:
        """The run has learned."""
        return self.state in {State.LEARNING, State.CONVERGED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Baseline:
    """Levels that a loss is compared with, in its own unit; None where they are not known.

    Attributes:
        naive: Loss of a network that knows nothing: ln C, mean y^2.
        constant: Loss of the best constant answer: entropy of the labels, Var y.
        commonest: Share of the commonest class among the labels.
        kind: Loss function the levels belong to, '' when it is unknown.
        negated: The recorded loss is minus that function's value; there are no levels then.
        reason: Why a level is missing.
    """

    naive: float | None = None
    constant: float | None = None
    commonest: float | None = None
    kind: str = ""
    negated: bool = False
    reason: str = ""


def progress(losses: FloatArray, baseline: Baseline) -> Progress:
    """State of a run from the losses of its steps, oldest first; NaN is a value.

    a and b are medians of a first and the last window, s the noise of one step,
    z = (a - b) / (1.25 s sqrt(1/w_a + 1/w_b)), r = (a - b) / |a|. Both windows are a tenth of the
    run (at least 3 losses); the run has fallen if z >= 4 and r >= 0.03. A long run which learned
    everything in its first percent shows in no tenth: first windows of half, a quarter, ... of
    that are tried too, and count from r >= 0.15, for the first few losses of a run that learns
    nothing fall as well (its last layer finds the label frequencies).

    `learning` further needs an end below the start and below 0.98 of the constant answer's loss: a
    fall from a bad start is no learning before. With an end below 0.9 of it any fall beyond the
    noise will do. `stalled` needs
    that a fall of 15 % can be excluded by the noise: one over the run, or one below the constant
    answer's loss where start and end are alike; a run too noisy or too short is `unknown`.

    Args:
        losses: Shape (n,).
        baseline: Levels to compare with.
    """
    finite = np.clip(losses[np.isfinite(losses)], -LARGEST, LARGEST)
    if losses.size and not np.isfinite(losses[-_window(losses.size) :]).any():
        return Progress(state=State.DIVERGED, reason="the loss is not finite")
    if finite.size < MIN_LOSSES:
        return Progress(
            state=State.UNKNOWN,
            measurable=False,
            reason=(
                f"{finite.size} losses were recorded; at least {MIN_LOSSES} are needed to see "
                "progress"
            ),
        )
    curve = _Curve(finite)
    if (finite < 0).any():
        return curve.progress(_signed_state(curve), reason=SIGNED, measurable=False)
    reason = NOISY
    if curve.comes_down:
        reason = COMES_DOWN
    elif baseline.constant is not None and curve.stays_above(BASELINE_SHARE * baseline.constant):
        reason = NO_FURTHER
    return curve.progress(_state(curve, baseline), reason=reason, measurable=True)


COMES_DOWN = "the loss still falls and has not passed the best constant answer"
NO_FURTHER = "the loss has come down to the best constant answer's, and no further"
NOISY = "the loss is too noisy to see progress"
SIGNED = "the loss has negative values, so there is no level to compare it with"


def _window(n: int) -> int:
    return max(3, n // 10)


class _Curve:
    """Numbers of one loss curve, all finite."""

    def __init__(self, losses: FloatArray) -> None:
        n = losses.size
        self.losses = losses
        self.last = _window(n)
        self.noise = step_noise(losses)
        self.end = float(np.median(losses[-self.last :]))
        self.start = float(np.median(losses[: max(3, min(START_LOSSES, n // 10))]))
        self.flat, self.falls = _course(losses)
        self.z, self.r = self._fall(self.last)
        self.fallen = self.z >= SIGNAL_LIMIT and self.r >= DROP_LIMIT
        width = self.last // 2
        while width >= 3 and not self.fallen:  # noqa: PLR2004 - a median of fewer is one batch
            z, r = self._fall(width)
            if z >= SIGNAL_LIMIT and r >= LARGE_DROP:
                self.z, self.r, self.fallen = z, r, True
            width //= 2

    def _fall(self, width: int) -> tuple[float, float]:
        start = float(np.median(self.losses[:width]))
        drop = start - self.end
        return self._standard_errors(drop, width), drop / abs(start) if start else 0.0

    def _standard_errors(self, change: float, width: int) -> float:
        """A change from the median of so many losses to that of the last window."""
        error = MEDIAN_INEFFICIENCY * self.noise * float(np.sqrt(1 / width + 1 / self.last))
        return change / error if error > 0 else math.copysign(math.inf, change) if change else 0.0

    @property
    def rise(self) -> float:
        """The end above the start, in standard errors."""
        return self._standard_errors(self.end - self.start, min(START_LOSSES, self.last))

    @property
    def rose(self) -> bool:
        """The end lies clearly above the start."""
        return self.end > DIVERGED_FACTOR * self.start and self.rise >= SIGNAL_LIMIT

    @property
    def thrown(self) -> bool:
        """The end lies far above the range of the first losses, and most of that came at once.

        A loss without a level may rise steadily in a run that learns: that of a critic does.
        """
        rise = self.end - self.start
        if rise < SIGNED_RISE * signed_range(self.losses) or self.rise < SIGNAL_LIMIT:
            return False
        apart = max(1, self.losses.size // 10)
        smooth = np.median(np.lib.stride_tricks.sliding_window_view(self.losses, 5), axis=1)
        return bool((smooth[apart:] - smooth[:-apart]).max() >= rise / 2)

    @property
    def resolved(self) -> bool:
        """The noise is small enough to exclude a fall of 15 % between the outer thirds."""
        third = max(3, self.losses.size // 3)
        before = float(np.median(self.losses[:third]))
        drop = before - float(np.median(self.losses[-third:]))
        error = MEDIAN_INEFFICIENCY * self.noise * float(np.sqrt(2 / third))
        return drop + 2 * error < RESOLUTION * before

    @property
    def comes_down(self) -> bool:
        """A large fall that still goes on."""
        return self.fallen and self.r >= LARGE_DROP and self.falls

    def stays_above(self, level: float) -> bool:
        """The end is at a level, and the noise small enough to exclude 15 % below it."""
        error = MEDIAN_INEFFICIENCY * self.noise / float(np.sqrt(self.last))
        return self.end >= level and self.end - 2 * error > (1 - RESOLUTION) * level

    def progress(self, state: State, *, reason: str, measurable: bool) -> Progress:
        return Progress(
            state=state,
            z=self.z,
            r=self.r,
            rise=self.rise,
            start=self.start,
            end=self.end,
            noise=self.noise,
            flat=self.flat,
            falls=self.falls,
            measurable=measurable,
            reason=reason if state is State.UNKNOWN else "",
        )


def signed_range(losses: FloatArray) -> float:
    """What a loss with negative values is measured by: the range of its first values, with zero."""
    first = losses[:START_LOSSES]
    return float(max(first.max(), 0.0) - min(first.min(), 0.0))


def _course(losses: FloatArray) -> tuple[bool, bool]:
    """Whether the last third is flat (|z| < 2, or a change below 1 % of its level), and falls."""
    tail = losses[-max(10, losses.size // 3) :]
    slope, z = trend(tail)
    change = abs(slope) * min(tail.size, TREND_POINTS)
    flat = abs(z) < FLAT_Z or change < FLAT_CHANGE * abs(float(np.median(tail)))
    return flat, not flat and slope < 0


def _signed_state(curve: _Curve) -> State:
    """A loss with negative values can be seen to learn, or to be thrown far from its start."""
    if curve.fallen and bool((curve.losses <= 0).all()):
        return State.LEARNING
    return State.DIVERGED if curve.thrown else State.UNKNOWN


def _state(curve: _Curve, baseline: Baseline) -> State:
    naive, constant = baseline.naive, baseline.constant
    if curve.rose or (naive is not None and curve.end > DIVERGED_FACTOR * naive):
        return State.DIVERGED
    known = constant or naive
    level = known or curve.start
    if curve.end <= CONVERGED_SHARE * level and (curve.flat or not curve.fallen):
        return State.CONVERGED
    passed = known is None or curve.end <= BASELINE_SHARE * known
    answers = constant is not None and curve.end <= STALLED_SHARE * constant
    # Most of it may have come within the first few steps.
    early = answers and curve.z >= SIGNAL_LIMIT and curve.r > 0
    if curve.end < curve.start and ((curve.fallen and passed) or early):
        return State.LEARNING
    if curve.comes_down:
        return State.UNKNOWN
    guesses = constant is not None and curve.stays_above(BASELINE_SHARE * constant)
    if guesses and curve.r < LARGE_DROP:
        return State.STALLED
    stalled = curve.end >= STALLED_SHARE * min(curve.start, level)
    return State.STALLED if stalled and curve.resolved else State.UNKNOWN
