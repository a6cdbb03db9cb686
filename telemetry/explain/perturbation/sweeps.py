"""Along one axis, where does an answer turn wrong? Pure functions over values and outcomes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

BISECTIONS = 3  # to an eighth of a step
Z_95 = 1.959963984540054  # of the normal distribution


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """Between a value that is still right and the first that is wrong, on one side."""

    right: float
    wrong: float


def turns(values: Sequence[float], right: Sequence[bool], neutral: float) -> list[Turn]:
    """The first turn below and above the neutral value; none where it is wrong already.

    Args:
        values: Ascending, the neutral one among them.
        right: Whether the answer is right at each.
        neutral: The value that changes nothing.
    """
    start = values.index(neutral)
    if not right[start]:
        return []
    up = range(start, len(values))
    down = range(start, -1, -1)
    found = []
    for side in (down, up):
        for last, this in pairwise(side):
            if not right[this]:
                found.append(Turn(right=values[last], wrong=values[this]))
                break
    return found


def bisected(turn: Turn, is_right: Callable[[float], bool], times: int = BISECTIONS) -> Turn:
    """The turn within an eighth of its interval."""
    good, bad = turn.right, turn.wrong
    for _ in range(times):
        middle = (good + bad) / 2
        good, bad = (middle, bad) if is_right(middle) else (good, middle)
    return Turn(right=good, wrong=bad)


def nearest(found: Sequence[Turn], neutral: float) -> float | None:
    """The first failing value that lies nearest to the neutral one."""
    return min((turn.wrong for turn in found), key=lambda v: abs(v - neutral), default=None)


def is_monotone(values: Sequence[float], right: Sequence[bool], neutral: float) -> bool:
    """Whether an answer that is lost on the way from the neutral value never comes back."""
    start = values.index(neutral)
    sides = (list(right[start:]), list(right[start::-1]))
    return all(not (later and not earlier) for side in sides for earlier, later in pairwise(side))


def failing_intervals(values: Sequence[float], right: Sequence[bool]) -> list[tuple[float, float]]:
    """Stretches of tried values at which the answer is wrong, ends included."""
    found: list[tuple[float, float]] = []
    was_right = True
    for value, good in zip(values, right, strict=True):
        if not good:
            found.append((value, value) if was_right else (found.pop()[0], value))
        was_right = good
    return found


def wilson(n_right: int, n: int) -> tuple[float, float]:
    """95 % interval of a share.

    Source: Wilson, Journal of the American Statistical Association 1927.
    """
    share, z2 = n_right / n, Z_95**2
    middle = share + z2 / (2 * n)
    half = Z_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, (middle - half) / (1 + z2 / n)), min(1.0, (middle + half) / (1 + z2 / n))
