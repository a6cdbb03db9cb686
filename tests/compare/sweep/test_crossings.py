import numpy as np
import pytest

from telemetry.compare.curves.align import Series
from telemetry.compare.sweep.crossings import open_order
from telemetry.compare.terms import Direction


def curve(*values: float) -> Series:
    return Series(
        steps=10 * np.arange(1, len(values) + 1), values=np.array(values, dtype=np.float64)
    )


def test_an_order_that_turns_round_in_the_last_quarter_is_open() -> None:
    curves = [curve(9, 9, 9 - i, float(i)) for i in range(5)]
    found = open_order(curves, Direction.LOWER)
    assert found is not None
    assert (found.early_step, found.last_step) == (30, 40)
    assert (found.leader, found.winner) == (4, 0)
    assert found.correlation == pytest.approx(-1)


def test_curves_that_keep_their_order_are_settled() -> None:
    assert open_order([curve(9, 8, 7 + i, i) for i in range(5)], Direction.LOWER) is None
    assert open_order([curve(0, 1, 2 + i, 3 + i) for i in range(5)], Direction.HIGHER) is None


def test_few_or_short_or_equal_curves_have_no_order() -> None:
    turning = [curve(9, 9, 9 - i, float(i)) for i in range(5)]
    assert open_order(turning[:4], Direction.LOWER) is None
    assert open_order([curve(1, 2, i) for i in range(9)], Direction.LOWER) is None
    assert open_order([curve(1, 1, 1, 1)] * 6, Direction.LOWER) is None
