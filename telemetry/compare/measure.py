"""Measures one metric over two groups of runs and says what the numbers allow to say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.compare import reasons
from telemetry.compare.align import Series, common_horizon
from telemetry.compare.diff_result import Direction, MetricChange, Quantity, Verdict
from telemetry.compare.intervals import (
    CONFIDENCE,
    Estimate,
    holm,
    judge,
    p_of_change,
    replicates_difference,
)
from telemetry.compare.single_runs import resolution, single_difference

Side = tuple[Series, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """One side of a comparison for one metric.

    `n_diverged` runs ended without a finite loss or metric, the first of them from step
    `diverged_at` on; `curves` are those of the others.
    """

    curves: Side
    n_diverged: int = 0
    diverged_at: int | None = None

    @property
    def mostly_diverged(self) -> bool:
        """More than half of the runs."""
        return self.n_diverged > len(self.curves)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of one metric; `margin` is relative to the base's value."""

    name: str
    direction: Direction
    margin: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One metric measured; `p` belongs to "the change is within the margin"."""

    change: MetricChange
    p: float


def measure(question: Question, base: Group, candidate: Group) -> Measured:
    """Change of the final value from base to candidate, with interval, verdict and reason.

    The final value is the median of the last tenth of the steps, or the last value of few (see
    `Series.final`), both sides cut at the last step that all runs have reached.
    """
    fate = _fate(base, candidate)
    if fate is not None:
        described = _described(question, base.curves, candidate.curves)
        reason = _fate_reason(question, base, candidate)
        return Measured(change=replace(described, verdict=fate, reason=reason), p=0.0)
    left, right = _cut(base.curves, candidate.curves)
    described = _described(question, left, right)
    estimate = _estimate(question, left, right)
    if estimate is None:
        return Measured(change=replace(described, reason=reasons.too_few_points()), p=1.0)
    measured = _judged(question, described, estimate)
    if candidate.n_diverged > base.n_diverged and passes(measured.change.verdict):
        reason = reasons.some_diverged(candidate.n_diverged, measured.change.reason)
        change = replace(measured.change, verdict=Verdict.INCONCLUSIVE, reason=reason)
        return Measured(change=change, p=1.0)
    return measured


def passes(verdict: Verdict) -> bool:
    """Whether a verdict would let the candidate through."""
    return verdict in {Verdict.NO_CHANGE, Verdict.IMPROVEMENT}


def corrected(measured: Sequence[Measured]) -> list[MetricChange]:
    """Verdicts after Holm's correction over all metrics but the first.

    The first decides and was chosen before its values were looked at, so it is tested at the full
    level; the others are many, and one of them would otherwise often seem to have changed.
    """
    p_values = [entry.p for entry in measured]
    adjusted = [*p_values[:1], *holm(p_values[1:])]
    changes: list[MetricChange] = []
    for entry, p in zip(measured, adjusted, strict=True):
        change = entry.change
        if p > 1 - CONFIDENCE and change.verdict in {Verdict.REGRESSION, Verdict.IMPROVEMENT}:
            reason = reasons.not_certain_among(len(measured) - 1, change.reason)
            change = replace(change, verdict=Verdict.INCONCLUSIVE, reason=reason)
        changes.append(change)
    return changes


def _fate(base: Group, candidate: Group) -> Verdict | None:
    """The verdict where it is the runs' survival that differs, not their values."""
    if base.mostly_diverged and candidate.mostly_diverged:
        return Verdict.INCONCLUSIVE
    if candidate.mostly_diverged:
        return Verdict.REGRESSION
    return Verdict.IMPROVEMENT if base.mostly_diverged else None


def _fate_reason(question: Question, base: Group, candidate: Group) -> str:
    if base.mostly_diverged and candidate.mostly_diverged:
        return reasons.both_diverged(question.name)
    name, side = ("candidate", candidate) if candidate.mostly_diverged else ("base", base)
    return reasons.diverged(name, side.n_diverged, side.diverged_at)


def _cut(base: Side, candidate: Side) -> tuple[Side, Side]:
    """Both sides up to the last common step; whole where a run has no value until then."""
    horizon = common_horizon([*base, *candidate])
    cut = [tuple(series.until(horizon) for series in side) for side in (base, candidate)]
    if all(len(series) for side in cut for series in side):
        return cut[0], cut[1]
    return base, candidate


def _estimate(question: Question, base: Side, candidate: Side) -> Estimate | None:
    if len(base) == len(candidate) == 1:
        single = single_difference(base[0], candidate[0], question.direction)
        return single.estimate if single else None
    values = np.concatenate([series.values for series in (*base, *candidate)])
    return replicates_difference(
        _finals(base), _finals(candidate), error_floor=resolution(values) / 2
    )


def _finals(side: Side) -> np.typing.NDArray[np.float64]:
    return np.array([series.final() for series in side], dtype=np.float64)


def _described(question: Question, base: Side, candidate: Side) -> MetricChange:
    """The numbers before judgement; NaN for a side without a living run."""
    finals = [float(np.mean(_finals(side))) if side else math.nan for side in (base, candidate)]
    best = [
        float(np.mean([series.best(question.direction) for series in side])) if side else math.nan
        for side in (base, candidate)
    ]
    curves = [*base, *candidate]
    return MetricChange(
        name=question.name,
        direction=question.direction,
        base=finals[0],
        candidate=finals[1],
        change=math.nan,
        ci_low=math.nan,
        ci_high=math.nan,
        verdict=Verdict.INCONCLUSIVE,
        reason="",
        best=Quantity(base=best[0], candidate=best[1]),
        n_base=len(base),
        n_candidate=len(candidate),
        step=max(int(series.steps[-1]) for series in curves) if curves else None,
    )


def _judged(question: Question, described: MetricChange, estimate: Estimate) -> Measured:
    """Judged in the metric's unit and described relative to the base, which may be zero."""
    scale = abs(described.base)
    verdict = judge(estimate, question.direction, question.margin * scale)
    low, high = estimate.interval()
    change = replace(
        described,
        change=_relative(estimate.difference, scale),
        ci_low=_relative(low, scale),
        ci_high=_relative(high, scale),
        verdict=verdict,
    )
    reason = reasons.judged(change, estimate, question.margin)
    p = p_of_change(estimate, question.margin * scale)
    return Measured(change=replace(change, reason=reason), p=p)


def _relative(difference: float, scale: float) -> float:
    if difference == 0:
        return 0.0
    return difference / scale if scale > 0 else math.copysign(math.inf, difference)
