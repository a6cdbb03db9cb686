"""What to search next: a range for each parameter, and the reason."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from telemetry.compare.effects import Region
from telemetry.compare.number_texts import number_text, range_text
from telemetry.compare.parameters import Varied
from telemetry.compare.sweep_result import Failure, Parameter, Relation, Step, Suggestion

Floats = npt.NDArray[np.float64]

CERTAIN_CHANCE = 0.05  # of a failure rule that a range is cut at
NO_EFFECT = 0.2  # share of the order that a parameter may still explain and be fixed
LOG_STEP = 10.0  # factor by which a log range is extended beyond its end
LINEAR_STEP = 0.5  # of the range tried, by which a linear one is


def suggestions(
    parameters: Sequence[Varied],
    judged: Sequence[Parameter],
    regions: Sequence[Region],
    failures: Sequence[Failure],
    *,
    enough_runs: bool,
) -> tuple[Suggestion, ...]:
    """One suggestion a parameter at most, the most important parameter first.

    Args:
        parameters: The varied parameters.
        judged: What is known about each, in the same order.
        regions: The best region of each, in the same order.
        failures: Rules that say where runs fail.
        enough_runs: Whether "no effect" says anything.
    """
    found: list[Suggestion] = []
    together = sorted(
        zip(parameters, judged, regions, strict=True),
        key=lambda one: (-one[1].important, -one[1].importance),
    )
    for parameter, known, region in together:
        limits = _limits(parameter.name, failures)
        if known.important:
            found.append(_of_important(parameter, region, limits))
        elif limits:
            found.append(_avoided(parameter, limits))
        elif enough_runs and known.ci_high <= NO_EFFECT:
            most = f"{100 * known.ci_high:.0f} %"
            reason = f"no effect beyond chance; it explains {most} of the order at most."
            found.append(
                Suggestion(parameter=known.name, step=Step.FIX, range="any value", reason=reason)
            )
    return tuple(found)


def _limits(name: str, failures: Sequence[Failure]) -> list[tuple[Relation, float, Failure]]:
    """Ends of the range that certain rules of one condition cut off."""
    return [
        (failure.conditions[0].relation, float(failure.conditions[0].value), failure)
        for failure in failures
        if len(failure.conditions) == 1 and failure.chance <= CERTAIN_CHANCE
        if failure.conditions[0].parameter == name
        and failure.conditions[0].relation is not Relation.EQUAL
    ]


def _of_important(
    parameter: Varied, region: Region, limits: Sequence[tuple[Relation, float, Failure]]
) -> Suggestion:
    name = parameter.name
    if region.first is None or region.last is None:
        reason = "their runs rank best; the other values cost."
        return Suggestion(parameter=name, step=Step.KEEP, range=region.text, reason=reason)
    at_top, at_bottom = region.last == parameter.n_ranges - 1, region.first == 0
    barred = {relation for relation, _, _ in limits}
    if at_top and not at_bottom and Relation.AT_LEAST not in barred:
        return _extended(parameter, region, upwards=True)
    if at_bottom and not at_top and Relation.AT_MOST not in barred:
        return _extended(parameter, region, upwards=False)
    low = _edge(parameter, max(region.first - 1, 0), upper=True)
    high = _edge(parameter, min(region.last + 1, parameter.n_ranges - 1), upper=False)
    if at_bottom:
        low = _range(parameter)[0]
    if at_top:
        high = _range(parameter)[1]
    reason = f"the best runs lie at {region.text}, inside what was tried."
    for relation, limit, failure in limits:
        reason = f"the best runs lie at {region.text}; {_failing(relation, limit, failure)}"
    return Suggestion(parameter=name, step=Step.NARROW, range=range_text(low, high), reason=reason)


def _extended(parameter: Varied, region: Region, *, upwards: bool) -> Suggestion:
    """Beyond the end at which the best runs lie; a factor on a log scale, else half the range."""
    low, high = _range(parameter)
    beyond = LINEAR_STEP * (high - low)
    end = high if upwards else low
    if parameter.log_scale:
        new = end * LOG_STEP if upwards else end / LOG_STEP
    else:
        new = end + beyond if upwards else end - beyond
        new = 0.0 if low >= 0 > new else new
    inner = _edge(parameter, (region.first if upwards else region.last) or 0, upper=not upwards)
    side = "upper" if upwards else "lower"
    return Suggestion(
        parameter=parameter.name,
        step=Step.EXTEND,
        range=range_text(min(inner, new), max(inner, new)),
        reason=f"the best runs lie at the {side} end of what was tried, {number_text(end)}.",
    )


def _avoided(parameter: Varied, limits: Sequence[tuple[Relation, float, Failure]]) -> Suggestion:
    relation, limit, failure = limits[0]
    numbers = _numbers(parameter)
    kept = numbers[numbers < limit] if relation is Relation.AT_LEAST else numbers[numbers > limit]
    return Suggestion(
        parameter=parameter.name,
        step=Step.AVOID,
        range=range_text(float(kept.min()), float(kept.max())),
        reason=_failing(relation, limit, failure),
    )


def _failing(relation: Relation, limit: float, failure: Failure) -> str:
    return (
        f"{failure.matching_runs} of {failure.rule_runs} runs with {relation} "
        f"{number_text(limit)} have {failure.detector}."
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
