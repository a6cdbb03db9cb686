"""What to search next: a range for each parameter that matters, and the reason.

No range holds what a failure rule says fails, and nothing is advised on a parameter whose effect
chance may have made.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.compare.settings.number_texts import number_text, range_text
from telemetry.compare.sweep.effects import Region
from telemetry.compare.sweep.parameters import Varied
from telemetry.compare.sweep.result import Failure, Parameter, Relation, Step, Suggestion

Floats = npt.NDArray[np.float64]
Range = tuple[float, float]

LOG_STEP = 10.0  # factor by which a log range is extended beyond its end
LINEAR_STEP = 0.5  # of the range tried, by which a linear one is


@dataclass(frozen=True, slots=True, kw_only=True)
class Barred:
    """What the rules of one condition say of a parameter: where its runs fail."""

    rules: tuple[Failure, ...]

    @property
    def upwards(self) -> bool:
        """Whether runs fail from some number on."""
        return any(self._relation(rule) is Relation.AT_LEAST for rule in self.rules)

    @property
    def downwards(self) -> bool:
        """Whether runs fail up to some number."""
        return any(self._relation(rule) is Relation.AT_MOST for rule in self.rules)

    def numbers(self, tried: Floats) -> Floats:
        """The numbers that no rule bars, in order."""
        kept = np.unique(tried[np.isfinite(tried)])
        for rule in self.rules:
            relation, limit = self._relation(rule), rule.conditions[0].value
            if relation is Relation.AT_LEAST:
                kept = kept[kept < float(limit)]
            elif relation is Relation.AT_MOST:
                kept = kept[kept > float(limit)]
        return kept

    def texts(self, labels: Sequence[str]) -> list[str]:
        """The categories that no rule bars."""
        named = {rule.conditions[0].value for rule in self.rules}
        return [label for label in labels if label not in named]

    def __str__(self) -> str:
        """`2 of 2 runs with >= 1 have exploding_gradient`; empty without a rule."""
        return "; ".join(
            f"{rule.detector} occurs in {rule.matching_runs} of {rule.rule_runs} runs with "
            f"{self._condition(rule)}"
            for rule in self.rules
        )

    def _relation(self, rule: Failure) -> Relation:
        return rule.conditions[0].relation

    def _condition(self, rule: Failure) -> str:
        value = rule.conditions[0].value
        text = value if isinstance(value, str) else number_text(value)
        return f"{self._relation(rule)} {text}"


def suggestions(
    parameters: Sequence[Varied],
    judged: Sequence[Parameter],
    regions: Sequence[Region],
    failures: Sequence[Failure],
) -> tuple[Suggestion, ...]:
    """One suggestion for each important parameter at most, the most important one first.

    Args:
        parameters: The varied parameters.
        judged: What is known about each, in the same order.
        regions: The best region of each, in the same order.
        failures: Rules that say where runs fail.
    """
    together = sorted(
        zip(parameters, judged, regions, strict=True), key=lambda one: -one[1].importance
    )
    found = [
        _suggested(parameter, region, failures)
        for parameter, known, region in together
        if known.important
    ]
    return tuple(one for one in found if one is not None)


def _suggested(parameter: Varied, region: Region, failures: Sequence[Failure]) -> Suggestion | None:
    barred = Barred(
        rules=tuple(
            failure
            for failure in failures
            if [one.parameter for one in failure.conditions] == [parameter.name]
        )
    )
    if region.first is None or region.last is None:
        return _kept(parameter, region, barred)
    found = _in_range(parameter, region.first, region.last, region, barred)
    if found is None:
        return None
    joint = [
        failure
        for failure in failures
        if len(failure.conditions) > 1
        and parameter.name in {one.parameter for one in failure.conditions}
    ]
    if not joint:
        return found
    but = "; ".join(f"not where {rule.rule}, which has {rule.detector}" for rule in joint)
    return Suggestion(
        parameter=found.parameter,
        step=found.step,
        range=found.range,
        reason=f"{found.reason.removesuffix('.')}; {but}.",
    )


def _kept(parameter: Varied, region: Region, barred: Barred) -> Suggestion | None:
    """The best categories that do not fail, None where none is left."""
    left = barred.texts(region.labels)
    if not left:
        return None
    reason = "runs with this value rank best; other values are worse."
    if len(left) < len(region.labels):
        reason = f"runs with this value rank best among those that do not fail; {barred}."
    return Suggestion(
        parameter=parameter.name, step=Step.KEEP, range=", ".join(left), reason=reason
    )


def _in_range(
    parameter: Varied, first: int, last: int, region: Region, barred: Barred
) -> Suggestion | None:
    """The range to search next; None where every number that was tried fails.

    Args:
        parameter: The parameter.
        first: The first bin of the best region.
        last: The last bin of it.
        region: The best region.
        barred: What fails.
    """
    kept = barred.numbers(_numbers(parameter))
    if not kept.size:
        return None
    if kept[-1] < _edge(parameter, first, upper=False) or kept[0] > _edge(
        parameter, last, upper=True
    ):
        return Suggestion(
            parameter=parameter.name,
            step=Step.AVOID,
            range=range_text(float(kept[0]), float(kept[-1])),
            reason=f"{barred}, although the best runs are at {region.text}.",
        )
    at_top, at_bottom = last == parameter.n_ranges - 1, first == 0
    if at_top and not at_bottom and not barred.upwards:
        return _extended(parameter, (first, last), kept, upwards=True)
    if at_bottom and not at_top and not barred.downwards:
        return _extended(parameter, (first, last), kept, upwards=False)
    low = _edge(parameter, max(first - 1, 0), upper=not at_bottom)
    high = _edge(parameter, min(last + 1, parameter.n_ranges - 1), upper=at_top)
    ends = max(low, float(kept[0])), min(high, float(kept[-1]))
    why = f"; {barred}" if barred.rules else ", inside the tried range"
    return Suggestion(
        parameter=parameter.name,
        step=Step.NARROW,
        range=range_text(*ends),
        reason=f"the best runs are at {region.text}{why}.",
    )


def _extended(
    parameter: Varied, region: tuple[int, int], kept: Floats, *, upwards: bool
) -> Suggestion:
    """Beyond the end at which the best runs lie; a factor on a log scale, else half the range."""
    low, high = _range(parameter)
    beyond = LINEAR_STEP * (high - low)
    end = high if upwards else low
    if parameter.log_scale:
        new = end * LOG_STEP if upwards else end / LOG_STEP
    else:
        new = end + beyond if upwards else end - beyond
        new = 0.0 if low >= 0 > new else new
    inner = _edge(parameter, region[0] if upwards else region[1], upper=not upwards)
    inner = max(inner, float(kept[0])) if upwards else min(inner, float(kept[-1]))
    side = "upper" if upwards else "lower"
    return Suggestion(
        parameter=parameter.name,
        step=Step.EXTEND,
        range=range_text(min(inner, new), max(inner, new)),
        reason=f"the best runs are at the {side} end of the tried range, {number_text(end)}.",
    )


def _edge(parameter: Varied, index: int, *, upper: bool) -> float:
    """The largest or smallest number in a bin."""
    inside = _numbers(parameter)[parameter.bins == index]
    return float(inside.max() if upper else inside.min())


def _range(parameter: Varied) -> tuple[float, float]:
    """The smallest and largest number tried."""
    numbers = _numbers(parameter)
    return float(np.nanmin(numbers)), float(np.nanmax(numbers))


def _numbers(parameter: Varied) -> Floats:
    """The numbers, NaN where there is none, shape (n,)."""
    if parameter.numbers is None:
        return np.full(parameter.bins.size, np.nan)
    return parameter.numbers
