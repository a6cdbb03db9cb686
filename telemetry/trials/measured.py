"""How far a metric changes with a remedy, and what that allows to claim.

From three pairs on as `telemetry diff` measures two groups. Fewer pairs say nothing of their
spread, so each is measured as `diff` measures one run against one: by the fluctuation of the curves
and an allowance for what another seed would have given; the error of their mean is that of
independent pairs.

The loss of few pairs is measured by its logarithm: a training that a remedy mends falls by orders
of magnitude, and one that needs a remedy often has a few large losses, which would hide that. The
levels are then those of the typical batch, the geometric mean.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from telemetry.compare.curves.align import Series
from telemetry.compare.curves.metric_names import LOSS
from telemetry.compare.diff.measure import MetricQuestion, measure
from telemetry.compare.diff.metric_curves import MetricCurves, cut
from telemetry.compare.diff.single_runs import single_difference
from telemetry.compare.statistics.intervals import FEWEST_TWINS, Estimate
from telemetry.compare.statistics.power import detectable
from telemetry.compare.statistics.verdicts import nearest_claim
from telemetry.compare.terms import Verdict

FLOOR_SHARE = 1e-4  # of the control's median: lower losses are as good as none
LARGEST_EXPONENT = 700.0  # of a float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One metric without a remedy and with it, in its own unit; see `Tried`."""

    verdict: Verdict
    reason: str
    control: float
    treated: float
    ci_low: float = math.nan
    ci_high: float = math.nan
    p: float = math.nan
    detectable: float = math.nan


def measured(question: MetricQuestion, control: MetricCurves, treated: MetricCurves) -> Measured:
    """The change of the final value, with interval and verdict.

    Args:
        question: Which metric, which way is better, what matters.
        control: Replays without the remedy.
        treated: Those of the same seeds with it.
    """
    n_pairs = len(control.curves)
    all_live = not control.n_diverged and not treated.n_diverged
    if all_live and 0 < n_pairs < FEWEST_TWINS:
        return _of_few(question, control, treated)
    change = measure(question, control, treated)
    low, high = (change.base + one * abs(change.base) for one in (change.ci_low, change.ci_high))
    return Measured(
        verdict=change.verdict,
        reason=change.reason,
        control=change.base,
        treated=change.candidate,
        ci_low=low,
        ci_high=high,
        p=change.p,
        detectable=change.detectable,
    )


def _of_few(question: MetricQuestion, control: MetricCurves, treated: MetricCurves) -> Measured:
    left, right = cut(control, treated)
    scale = _scale_of(question, left.curves, right.curves)
    means = [float(np.mean([one.final() for one in side.curves])) for side in (left, right)]
    left, right = (
        replace(side, curves=tuple(map(scale.of, side.curves))) for side in (left, right)
    )
    base, value = (float(np.mean([one.final() for one in side.curves])) for side in (left, right))
    single = [
        single_difference(one, other, question.direction, same_seed=True)
        for one, other in zip(left.curves, right.curves, strict=True)
    ]
    estimates = [one.final for one in single if one is not None]
    if len(estimates) < len(single):
        reason = "too few values of it are common to both"
        return Measured(
            verdict=Verdict.INCONCLUSIVE,
            reason=reason,
            control=scale.back(base),
            treated=scale.back(value),
            p=1.0,
        )
    estimate = _mean(estimates)
    margin = scale.margin(question.margin, base)
    claim = nearest_claim(estimate, question.direction, margin)
    low, high = estimate.interval()
    # Where the typical loss and the mean of all disagree, rare batches decide, and nothing is told.
    agree = (value - base) * (means[1] - means[0]) >= 0
    control_level, treated_level = scale.back(base), scale.back(value)
    return Measured(
        verdict=claim.made if agree else Verdict.INCONCLUSIVE,
        reason=f"{question.name} {control_level:.4g} without and {treated_level:.4g} with it",
        control=control_level,
        treated=treated_level,
        ci_low=scale.back(base + low),
        ci_high=scale.back(base + high),
        p=claim.p if agree else 1.0,
        detectable=scale.relative(detectable(estimate, margin), base),
    )


class _Plain:
    """A metric in its own unit."""

    def of(self, series: Series) -> Series:
        """The curve that is measured."""
        return series

    def back(self, level: float) -> float:
        """A level of such a curve in the unit of the metric."""
        return level

    def margin(self, share: float, base: float) -> float:
        """A share of the metric as a difference of such curves."""
        return share * abs(base)

    def relative(self, difference: float, base: float) -> float:
        """A difference of such curves as a share of the metric."""
        return difference / abs(base) if base else math.nan


class _Logarithm(_Plain):
    """The logarithm of a loss.

    Args:
        floor: Lower losses are taken for it.
    """

    def __init__(self, floor: float) -> None:
        self._floor = floor

    def of(self, series: Series) -> Series:
        return replace(series, values=np.log(np.maximum(series.values, self._floor)))

    def back(self, level: float) -> float:
        return math.exp(min(level, LARGEST_EXPONENT))

    def margin(self, share: float, base: float) -> float:
        del base
        return math.log1p(share)

    def relative(self, difference: float, base: float) -> float:
        """A fall of the loss: what is left of it is no share of more than one."""
        del base
        return -math.expm1(-difference)


def _scale_of(
    question: MetricQuestion, control: Sequence[Series], treated: Sequence[Series]
) -> _Plain:
    """Not the logarithm where a loss is negative."""
    values = np.concatenate([series.values for series in (*control, *treated)])
    if question.name != LOSS or not (np.isfinite(values) & (values >= 0)).all():
        return _Plain()
    median = float(np.median(np.concatenate([series.values for series in control])))
    return _Logarithm(floor=FLOOR_SHARE * median) if median > 0 else _Plain()


def _mean(estimates: list[Estimate]) -> Estimate:
    """The mean of independent differences, each with an error of its own."""
    n = len(estimates)
    return Estimate(
        difference=sum(one.difference for one in estimates) / n,
        standard_error=math.sqrt(sum(one.standard_error**2 for one in estimates)) / n,
        df=min(one.df for one in estimates),
        paired=True,
    )
