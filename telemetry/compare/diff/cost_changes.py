"""Whether the candidate costs more: a verdict for each cost, which decides nothing by itself."""

import math
from collections.abc import Sequence

import numpy as np

from telemetry.compare.diff.costs import (
    DATA_S,
    PARTS,
    PEAK_MEMORY_BYTES,
    SAMPLES_PER_S,
    STEP_S,
    STEP_TAIL_S,
    Cost,
    RunCosts,
)
from telemetry.compare.diff.result import CostChange
from telemetry.compare.statistics.intervals import Estimate, replicates_difference
from telemetry.compare.statistics.verdicts import nearest_claim
from telemetry.compare.terms import Direction

COST_MARGIN = 0.05  # relative change of a cost that matters in practice
# Of the logarithm between two runs of the same code on one machine, which neither run shows.
RUN_DEVIATION = 0.01
NAMES = (STEP_S, STEP_TAIL_S, SAMPLES_PER_S, DATA_S, PEAK_MEMORY_BYTES)


def cost_changes(base: Sequence[RunCosts], candidate: Sequence[RunCosts]) -> tuple[CostChange, ...]:
    """The costs that all runs recorded, compared.

    Logarithms are compared, so an interval holds for the factor. Groups are judged by the scatter
    between their runs; one run against one by the scatter of its steps and 1 % that two runs of the
    same code differ by.

    Args:
        base: Costs of each run, as `read_costs` reads them; at least one run.
        candidate: The same of the candidate.
    """
    return tuple(
        _changed(name, base, candidate)
        for name in NAMES
        if all(name in costs for costs in (*base, *candidate))
    )


def _changed(name: str, base: Sequence[RunCosts], candidate: Sequence[RunCosts]) -> CostChange:
    sides = [[costs[name] for costs in side] for side in (base, candidate)]
    if name == DATA_S:
        step_s = _typical([costs[STEP_S] for costs in base])
        estimate = _estimate(sides, [[cost.value / step_s for cost in side] for side in sides])
        low, high = estimate.interval()
        change = estimate.difference
    else:
        logs = [[math.log(cost.value) for cost in side] for side in sides]
        estimate = _estimate(sides, logs)
        low, high = (math.expm1(end) for end in estimate.interval())
        change = math.expm1(estimate.difference)
    direction = Direction.HIGHER if name == SAMPLES_PER_S else Direction.LOWER
    return CostChange(
        name=name,
        direction=direction,
        base=_typical(sides[0]),
        candidate=_typical(sides[1]),
        change=change,
        ci_low=low,
        ci_high=high,
        verdict=nearest_claim(estimate, direction, math.log1p(COST_MARGIN)).made,
    )


def _estimate(sides: Sequence[Sequence[Cost]], values: Sequence[Sequence[float]]) -> Estimate:
    """The difference of the sides' values, over runs or, of one against one, over their steps."""
    base, candidate = (np.array(side) for side in values)
    if base.size + candidate.size > 2:  # noqa: PLR2004 - one run against one has no scatter
        return replicates_difference(base, candidate, error_floor=RUN_DEVIATION)
    errors = [cost.error for side in sides for cost in side]
    return Estimate(
        difference=float(candidate[0] - base[0]),
        standard_error=math.hypot(*errors, RUN_DEVIATION * math.sqrt(2)),
        df=2 * (PARTS - 1),
    )


def _typical(costs: Sequence[Cost]) -> float:
    return float(np.mean([cost.value for cost in costs]))
