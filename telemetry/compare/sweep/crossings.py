"""Whether the learning curves of a sweep still cross: longer runs would rank differently."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.compare.curves.align import Series
from telemetry.compare.sweep.importance import mean_ranks
from telemetry.compare.terms import Direction

ORDER_LIMIT = 0.7  # rank correlation of the runs at three quarters with the end
FEWEST_POINTS = 4  # of a curve that has three quarters
FEWEST_CURVES = 5  # fewer runs have no order to speak of


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenOrder:
    """The order of the runs at an early and at the last step, and how little they agree.

    `leader` is the position of the curve that was ahead at the early step, `winner` of the one that
    is at the end.
    """

    early_step: int
    last_step: int
    correlation: float
    leader: int
    winner: int


def open_order(curves: Sequence[Series], goal: Direction) -> OpenOrder | None:
    """What changed in the last quarter, None where the order has settled.

    Args:
        curves: Curves of runs that did not diverge.
        goal: Which way is better.
    """
    places = [i for i, curve in enumerate(curves) if len(curve) >= FEWEST_POINTS]
    if len(places) < FEWEST_CURVES:
        return None
    late = [curves[i] for i in places]
    parts = [curve.part(0, 3 * len(curve) // 4) for curve in late]
    sign = 1.0 if goal is Direction.LOWER else -1.0
    early = sign * np.array([part.best(goal) for part in parts])
    final = sign * np.array([curve.best(goal) for curve in late])
    ranks = mean_ranks(early), mean_ranks(final)
    if np.ptp(ranks[0]) == 0 or np.ptp(ranks[1]) == 0:
        return None
    correlation = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    if correlation >= ORDER_LIMIT:
        return None
    return OpenOrder(
        early_step=int(np.median([part.steps[-1] for part in parts])),
        last_step=int(np.median([curve.steps[-1] for curve in late])),
        correlation=correlation,
        leader=places[int(np.nanargmin(early))],
        winner=places[int(np.nanargmin(final))],
    )
