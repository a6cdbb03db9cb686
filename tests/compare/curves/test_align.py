import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.compare.curves.align import Series, common_horizon, median_of, paired
from telemetry.compare.terms import Direction


def series(points: dict[int, float]) -> Series:
    steps = np.array(sorted(points), dtype=np.int64)
    return Series(steps=steps, values=np.array([points[int(step)] for step in steps]))


def every(cadence: int, n: int, value: float = 0.0) -> Series:
    return series({step: step + value for step in range(0, n, cadence)})


def test_few_points_end_in_the_last_one_and_many_in_the_median_of_the_last_tenth() -> None:
    assert every(1, 10).final() == 9
    assert every(1, 100).final() == 94.5
    assert every(1, 20).final() == 18


def test_one_bad_step_is_no_divergence_but_a_bad_end_is() -> None:
    spike = series({**dict.fromkeys(range(100), 1.0), 97: math.nan})
    assert spike.final() == 1.0
    dead = series({i: 1.0 if i < 60 else math.nan for i in range(100)})
    assert math.isnan(dead.final())
    assert math.isnan(series({0: 1.0, 5: math.inf}).final())


def test_the_best_value_ignores_what_is_not_finite() -> None:
    curve = series({0: 3.0, 1: 1.0, 2: math.nan})
    assert curve.best(Direction.LOWER) == 1.0
    assert curve.best(Direction.HIGHER) == 3.0
    assert math.isnan(series({0: math.nan}).best(Direction.LOWER))


def test_equal_cadences_pair_step_by_step() -> None:
    steps, left, right = paired(every(5, 50), every(5, 40, 1.0))
    assert steps.tolist() == list(range(0, 40, 5))
    assert (right - left).tolist() == [1.0] * 8


def test_other_cadences_pair_where_they_meet_or_with_the_latest_value() -> None:
    steps, _, _ = paired(every(2, 60), every(4, 60))
    assert steps.tolist() == list(range(0, 60, 4))
    steps, left, right = paired(every(7, 60), series(dict.fromkeys(range(3, 60, 10), 0.5)))
    assert steps.tolist() == [3, 13, 23, 33, 43, 53]
    assert left.tolist() == [0, 7, 21, 28, 42, 49]
    assert set(right) == {0.5}


def test_pairs_with_a_value_that_is_not_finite_are_left_out() -> None:
    steps, _, _ = paired(series({0: 1.0, 1: math.nan, 2: 1.0}), series({0: 1.0, 1: 1.0, 2: 2.0}))
    assert steps.tolist() == [0, 2]


def test_the_horizon_is_the_last_step_of_the_shortest_run() -> None:
    assert common_horizon([every(1, 100), every(3, 50)]) == 48
    assert len(every(1, 100).until(48)) == 49
    assert len(series({50: 1.0}).until(48)) == 0


def test_the_value_around_a_share_of_the_run_is_a_window_or_the_nearest_point() -> None:
    assert every(1, 101).around(0.75) == pytest.approx(75, abs=0.6)
    assert series({0: 4.0, 90: 2.0, 100: 1.0}).around(0.5) == 2.0


@settings(deadline=None)
@given(a=st.integers(1, 9), b=st.integers(1, 9), n=st.integers(10, 120))
def test_pairing_is_symmetric(a: int, b: int, n: int) -> None:
    left, right = every(a, n), every(b, n, 0.25)
    steps, x, y = paired(left, right)
    other, v, u = paired(right, left)
    if a != b or len(left) != len(right):
        assert steps.tolist() == other.tolist()
    assert (x.tolist(), y.tolist()) == (u.tolist(), v.tolist())


def test_the_area_is_the_mean_height_between_two_steps() -> None:
    triangle = series({0: 0.0, 10: 10.0, 20: 0.0})
    assert triangle.area(0, 20) == pytest.approx(5.0)
    assert triangle.area(5, 15) == pytest.approx(7.5)  # from 5 up to 10 and down to 5
    assert series({0: 2.0, 30: 2.0}).area(10, 20) == pytest.approx(2.0)
    assert triangle.area(10, 10) == 10.0


def test_the_area_of_a_line_does_not_depend_on_how_often_it_was_evaluated() -> None:
    dense = series({step: 3.0 - step / 10 for step in range(31)})
    sparse = series({step: 3.0 - step / 10 for step in (0, 7, 30)})
    assert dense.area(0, 30) == pytest.approx(sparse.area(0, 30)) == pytest.approx(1.5)


def test_values_that_are_not_finite_are_no_part_of_best_and_area() -> None:
    holed = series({0: 4.0, 10: math.nan, 20: 2.0, 30: math.inf})
    assert holed.area(0, 20) == pytest.approx(3.0)
    assert holed.best(Direction.LOWER) == 2.0
    assert holed.best(Direction.HIGHER) == 4.0
    assert math.isnan(series({0: math.nan}).area(0, 0))


def test_one_lucky_batch_is_not_the_best_of_a_long_curve() -> None:
    values = np.full(100, 2.0)
    values[50] = 0.0
    lucky = Series(steps=np.arange(100), values=values)
    assert lucky.best(Direction.LOWER) == pytest.approx(1.8)  # the mean over ten steps
    assert lucky.part(45, 55).best(Direction.LOWER) == 0.0  # of ten evaluations each counts


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=9))
def test_a_median_is_that_of_numpy(values: list[float]) -> None:
    assert median_of(np.array(values)) == np.median(values)
