import math

from telemetry.compare.sweep.pareto import undominated


def test_a_run_is_on_the_front_unless_another_is_as_good_everywhere_and_better_somewhere() -> None:
    costs = [[1.0, 9.0], [2.0, 5.0], [2.0, 6.0], [9.0, 1.0], [9.0, 1.0], [3.0, 5.0]]
    assert undominated(costs).tolist() == [True, True, False, True, True, False]


def test_an_axis_that_nobody_recorded_counts_for_nothing() -> None:
    costs = [[1.0, math.inf], [2.0, math.inf], [math.inf, math.inf]]
    assert undominated(costs).tolist() == [True, False, False]


def test_without_any_value_there_is_no_front() -> None:
    assert undominated([[math.inf], [math.nan]]).tolist() == [False, False]
