"""Measures one metric over two groups of runs and says what the numbers allow to say."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.compare.curves.align import Floats, common_horizon, common_start
from telemetry.compare.curves.axes import in_units
from telemetry.compare.diff import reasons
from telemetry.compare.diff.metric_curves import Curves, MetricCurves, cut, seed_pairs
from telemetry.compare.diff.result import MetricChange, Quantity
from telemetry.compare.diff.single_runs import SingleDifference, resolution, single_difference
from telemetry.compare.statistics.intervals import (
    Estimate,
    alike,
    paired_difference,
    replicates_difference,
)
from telemetry.compare.statistics.power import detectable, effect_size
from telemetry.compare.statistics.verdicts import CLAIM_LEVEL, holm, nearest_claim
from telemetry.compare.terms import Axis, Direction, DirectionSource, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricQuestion:
    """What is asked of one metric; `margin` is relative to the base's value."""

    name: str
    direction: Direction
    margin: float
    direction_from: DirectionSource = DirectionSource.NAME
    axis: Axis = Axis.STEP


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """Final value, best value and area compared; `single` where one run stands against one."""

    final: Estimate
    best: Estimate
    area: Estimate
    single: SingleDifference | None = None


def measure(question: MetricQuestion, base: MetricCurves, candidate: MetricCurves) -> MetricChange:
    """Change of the final value from base to candidate, with interval, verdict and reason.

    The final value is the median of the last tenth of the axis, the mean of a loss, or the last
    value of few (see `Series.final`), both sides cut at the last position that all runs have
    reached. The p value is not yet corrected for the number of metrics.
    """
    fate = _fate(base, candidate)
    if fate is not None:
        described = _described(question, base.curves, candidate.curves)
        reason = _fate_reason(question, base, candidate)
        p = 1.0 if fate is Verdict.INCONCLUSIVE else 0.0
        return replace(described, verdict=fate, reason=reason, p=p)
    left, right = _matched(question, *cut(base, candidate))
    described = _described(question, left.curves, right.curves)
    estimates = _estimates(question, left, right)
    if estimates is None:
        return replace(described, reason=reasons.too_few_points(), p=1.0)
    change = _judged(question, described, estimates)
    if candidate.n_diverged > base.n_diverged and passes(change.verdict):
        reason = reasons.some_diverged(candidate.n_diverged, change.reason)
        return replace(change, verdict=Verdict.INCONCLUSIVE, reason=reason, p=1.0)
    return change


def passes(verdict: Verdict) -> bool:
    """Whether a verdict would let the candidate through."""
    return verdict in {Verdict.NO_CHANGE, Verdict.IMPROVEMENT}


def corrected(changes: Sequence[MetricChange]) -> list[MetricChange]:
    """P values and verdicts after Holm's correction over all metrics but the first.

    The first decides and was chosen before its values were looked at, so it is tested at the full
    level; the others are many, and one of them would otherwise often seem to have changed.
    """
    p_values = [change.p for change in changes]
    adjusted = [*p_values[:1], *holm(p_values[1:])]
    return [_held(change, p, len(changes) - 1) for change, p in zip(changes, adjusted, strict=True)]


def _held(change: MetricChange, p: float, n_others: int) -> MetricChange:
    """The change with its corrected p value, its claim withdrawn if that is too large."""
    if p <= CLAIM_LEVEL or change.verdict is Verdict.INCONCLUSIVE:
        return replace(change, p=p)
    reason = reasons.not_certain_among(n_others, p, change.reason)
    return replace(change, p=p, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _fate(base: MetricCurves, candidate: MetricCurves) -> Verdict | None:
    """The verdict where it is the runs' survival that differs, not their values."""
    if base.mostly_diverged and candidate.mostly_diverged:
        return Verdict.INCONCLUSIVE
    if candidate.mostly_diverged:
        return Verdict.REGRESSION
    return Verdict.IMPROVEMENT if base.mostly_diverged else None


def _fate_reason(question: MetricQuestion, base: MetricCurves, candidate: MetricCurves) -> str:
    if base.mostly_diverged and candidate.mostly_diverged:
        return reasons.both_diverged(question.name)
    name, side = ("candidate", candidate) if candidate.mostly_diverged else ("base", base)
    return reasons.diverged(name, side.n_diverged, side.diverged_at, question.axis)


def _matched(
    question: MetricQuestion, base: MetricCurves, candidate: MetricCurves
) -> tuple[MetricCurves, MetricCurves]:
    """The runs of equal seeds of both, if these make values alike; else all runs."""
    pairs = seed_pairs(base, candidate)
    if pairs is None:
        return base, candidate
    finals = (_numbers(question, side.curves, side.curves)[0] for side in pairs)
    return pairs if alike(*finals) else (base, candidate)


def _estimates(
    question: MetricQuestion, base: MetricCurves, candidate: MetricCurves
) -> Estimates | None:
    pairs = seed_pairs(base, candidate)
    if len(base.curves) == len(candidate.curves) == 1:
        curves = base.curves[0], candidate.curves[0]
        single = single_difference(*curves, question.direction, same_seed=pairs is not None)
        if single is None:
            return None
        return Estimates(final=single.final, best=single.best, area=single.area, single=single)
    in_pairs = pairs is not None and base.seeds == candidate.seeds
    compare = paired_difference if in_pairs else replicates_difference
    values = np.concatenate([series.values for series in (*base.curves, *candidate.curves)])
    floor = resolution(values) / 2
    found = [
        compare(left, right, error_floor=floor)
        for left, right in zip(
            _numbers(question, base.curves, candidate.curves),
            _numbers(question, candidate.curves, base.curves),
            strict=True,
        )
    ]
    return Estimates(final=found[0], best=found[1], area=found[2])


def _numbers(
    question: MetricQuestion, side: Curves, other: Curves
) -> tuple[Floats, Floats, Floats]:
    """Final value, best value and area of each run, shape (n_runs,), over what all runs have."""
    curves = [*side, *other]
    ends = common_start(curves), common_horizon(curves)
    return (
        np.array([series.final() for series in side], dtype=np.float64),
        np.array([series.best(question.direction) for series in side], dtype=np.float64),
        np.array([series.area(*ends) for series in side], dtype=np.float64),
    )


def _described(question: MetricQuestion, base: Curves, candidate: Curves) -> MetricChange:
    """The numbers before judgement; NaN for a side without a living run."""
    means = [
        [float(np.mean(values)) for values in _numbers(question, side, other)]
        if side
        else [math.nan] * 3
        for side, other in ((base, candidate), (candidate, base))
    ]
    final, best, area = (Quantity(base=b, candidate=c) for b, c in zip(*means, strict=True))
    curves = [*base, *candidate]
    end = common_horizon(curves) if curves else None
    return MetricChange(
        name=question.name,
        direction=question.direction,
        direction_from=question.direction_from,
        base=final.base,
        candidate=final.candidate,
        change=math.nan,
        ci_low=math.nan,
        ci_high=math.nan,
        verdict=Verdict.INCONCLUSIVE,
        reason="",
        best=best,
        area=area,
        n_base=len(base),
        n_candidate=len(candidate),
        step=end if question.axis is Axis.STEP else None,
        end=None if end is None else in_units(question.axis, end),
        is_smoothed=any(series.is_smoothed for series in curves),
    )


def _judged(
    question: MetricQuestion, described: MetricChange, estimates: Estimates
) -> MetricChange:
    """Judged in the metric's unit and described relative to the base, which may be zero."""
    scale = abs(described.base)
    margin = question.margin * scale
    claim = nearest_claim(estimates.final, question.direction, margin)
    final = _compared(Quantity(base=described.base), estimates.final)
    change = replace(
        described,
        change=final.change,
        ci_low=final.ci_low,
        ci_high=final.ci_high,
        best=_compared(described.best, estimates.best),
        area=_compared(described.area, estimates.area),
        verdict=claim.made,
        p=claim.p,
        paired=estimates.final.paired,
        effect_size=effect_size(estimates.final),
        detectable=_relative(detectable(estimates.final, margin), scale),
    )
    reason = reasons.judged(change, estimates.final, question.margin, estimates.single)
    return replace(change, reason=reason)


def _compared(quantity: Quantity, estimate: Estimate) -> Quantity:
    scale = abs(quantity.base)
    low, high = estimate.interval()
    return replace(
        quantity,
        change=_relative(estimate.difference, scale),
        ci_low=_relative(low, scale),
        ci_high=_relative(high, scale),
    )


def _relative(difference: float, scale: float) -> float:
    if difference == 0:
        return 0.0
    return difference / scale if scale > 0 else math.copysign(math.inf, difference)
