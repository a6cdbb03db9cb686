"""An excursion of the loss: since when it lasts, whether it is chance, and whether it did harm."""

import math
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.context import RunContext
from telemetry.diagnose.judgement.gates import excursion, lasting_from
from telemetry.diagnose.judgement.progress import CONVERGED_SHARE, SIGNAL_LIMIT, State
from telemetry.diagnose.judgement.robust import MEDIAN_INEFFICIENCY, BoolArray

CATAPULT_STEPS = 20
ABOVE_SHARE = 0.8  # of the losses up to its peak are above the limit
EXPECTED_BY_CHANCE = 0.05  # such medians in a run whose losses come in any order


@dataclass(frozen=True, slots=True, kw_only=True)
class Excursion:
    """The highest median of some losses above a level.

    Attributes:
        value: It over the reference.
        place: Of its middle, among the losses.
        begin: Place at which it begins.
        level: That the losses are above.
        width: Losses whose median is taken.
    """

    value: float
    place: int
    begin: int
    level: float
    width: int


def found_excursion(context: RunContext, *, limit: float, width: int) -> Excursion | None:
    """The excursion of a run to so many times its reference level; None where it has none."""
    reference = context.loss_reference
    if math.isnan(reference):
        return None
    found = excursion(context.losses, reference, width=width)
    if found is None or found[0] < limit:
        return None
    value, place = found
    level = limit * reference
    start = lasting_from(_above(context, level)[1 : place + 1], share=ABOVE_SHARE, least=1)
    begin = place if start is None else 1 + start
    return Excursion(value=value, place=place, begin=begin, level=level, width=width)


def first_above(context: RunContext, level: float) -> int:
    """First step after the first of which the loss is above a level; the last without one."""
    above = np.flatnonzero(context.losses[1:] >= level)
    return int(context.loss_steps[1 + above[0]]) if above.size else int(context.loss_steps[-1])


def last_above(context: RunContext, level: float) -> int:
    """Last step of which the loss is above a level; 0 without one."""
    above = np.flatnonzero(_above(context, level))
    return int(context.loss_steps[above[-1]]) if above.size else 0


def is_chance(context: RunContext, found: Excursion) -> bool:
    """Losses above the level are scattered over the run: some come together by chance.

    The excursion itself says nothing of how often they come alone, so it is left out. A run that
    has diverged has left its level for good.
    """
    if context.state is State.DIVERGED:
        return False
    above = _above(context, found.level)
    below = np.flatnonzero(~above[found.place + found.width :])
    end = found.place + found.width + int(below[0]) if below.size else above.size
    rest = np.concatenate([above[: max(0, found.begin - found.width)], above[end:]])
    if not rest.size:
        return False
    alone = float(rest.mean())
    most = range(found.width // 2 + 1, found.width + 1)
    together = sum(
        math.comb(found.width, n) * alone**n * (1 - alone) ** (found.width - n) for n in most
    )
    return together * context.losses.size >= EXPECTED_BY_CHANCE


def did_no_harm(context: RunContext, found: Excursion, *, high: bool) -> bool:
    """Half of what there is to learn was learned, and the excursion has taken nothing of it.

    It was over at once or not so high; or as much was learned before it, and is again at the end.
    """
    progress, naive = context.progress, context.baseline.naive
    if naive is None or not progress.improving or progress.end > CONVERGED_SHARE * naive:
        return False
    mild = not high or last_above(context, found.level) <= CATAPULT_STEPS
    return mild or _is_back(context, found, learned=CONVERGED_SHARE * naive)


def _is_back(context: RunContext, found: Excursion, *, learned: float) -> bool:
    """The loss had come so far before the excursion, and ends no higher than it was then."""
    width = max(3, context.losses.size // 10)
    earlier = context.losses[max(0, found.begin - width) : found.begin]
    before = float(np.median(earlier))
    progress = context.progress
    error = MEDIAN_INEFFICIENCY * progress.noise * math.sqrt(1 / earlier.size + 1 / width)
    return before <= learned and progress.end - before < SIGNAL_LIMIT * error


def _above(context: RunContext, level: float) -> BoolArray:
    """Where the loss is above a level, or is not a number."""
    return ~(context.losses < level)
