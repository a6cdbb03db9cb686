import math

import numpy as np
import pytest

from telemetry.compare.curves.align import Series
from telemetry.compare.sweep.standing import Contestant, standings
from telemetry.compare.terms import Direction


def contestant(
    values: list[float], *, cut_short: bool = False, diverged: bool = False, best: bool = True
) -> Contestant:
    curve = Series(steps=np.arange(len(values)), values=np.array(values, dtype=np.float64))
    return Contestant(
        curve=curve,
        value=None if diverged else min(values) if best else values[-1],
        diverged=diverged,
        cut_short=cut_short,
        best_counts=best,
    )


def test_runs_of_full_length_have_the_ranks_of_their_values() -> None:
    runs = [contestant([3.0, 2.0]), contestant([3.0, 1.0]), contestant([3.0, 2.0])]
    assert standings(runs, Direction.LOWER).tolist() == [2.5, 1.0, 2.5]
    assert standings(runs, Direction.HIGHER).tolist() == [1.5, 3.0, 1.5]


def test_runs_that_diverged_tie_for_the_last_place() -> None:
    runs = [
        contestant([1.0, math.nan], diverged=True),
        contestant([9.0, 8.0]),
        contestant([2.0, math.nan], diverged=True, cut_short=True),
    ]
    assert standings(runs, Direction.LOWER).tolist() == [2.5, 1.0, 2.5]


def test_a_run_that_was_cut_short_is_compared_at_the_step_it_reached() -> None:
    slow = contestant([5.0, 4.0, 3.0, 2.0])
    fast = contestant([5.0, 1.9, 1.8, 1.7])
    pruned = contestant([5.0, 3.5], cut_short=True)  # better than slow was, worse than fast was
    assert standings([slow, fast, pruned], Direction.LOWER).tolist() == [3.0, 1.0, 2.0]
    finished = contestant([5.0, 3.5])
    assert standings([slow, fast, finished], Direction.LOWER).tolist() == [2.0, 1.0, 3.0]


@pytest.mark.parametrize("best", [True, False])
def test_the_value_at_a_step_is_the_best_or_the_latest(*, best: bool) -> None:
    bumpy = contestant([1.0, 4.0, 0.5], best=best)
    pruned = contestant([3.0, 3.0], cut_short=True, best=best)
    expected = [1.0, 2.0] if best else [2.0, 1.0]
    assert standings([bumpy, pruned], Direction.LOWER).tolist() == expected


def test_a_run_that_ended_before_its_first_evaluation_of_the_others_loses() -> None:
    late = Contestant(
        curve=Series(steps=np.array([10]), values=np.array([0.1])),
        value=0.1,
        diverged=False,
        cut_short=False,
        best_counts=True,
    )
    assert standings([late, contestant([3.0], cut_short=True)], Direction.LOWER).tolist() == [2, 1]
