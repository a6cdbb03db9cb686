import math

from hypothesis import given
from hypothesis import strategies as st

from telemetry.compare.sweep.pareto import undominated


def test_a_run_is_on_the_front_unless_another_is_as_good_everywhere_and_better_somewhere() -> None:
    costs = [[1.0, 9.0], [2.0, 5.0], [2.0, 6.0], [9.0, 1.0], [9.0, 1.0], [3.0, 5.0]]
    assert undominated(costs).tolist() == [True, True, False, True, True, False]


def test_an_axis_that_nobody_recorded_counts_for_nothing() -> None:
    costs = [[1.0, math.inf], [2.0, math.inf], [math.inf, math.inf]]
    assert undominated(costs).tolist() == [True, False, False]


def test_without_any_value_there_is_no_front() -> None:
    assert undominated([[math.inf], [math.nan]]).tolist() == [False, False]


few_costs = st.sampled_from([0.0, -0.0, 1.0, 2.0, 3.0, math.inf, math.nan])


rows_of = st.integers(1, 3).flatmap(
    lambda n: st.lists(st.lists(few_costs, min_size=n, max_size=n), min_size=1)
)


@given(rows_of)
def test_the_front_is_what_comparing_each_run_with_each_gives(costs: list[list[float]]) -> None:
    columns = [k for k in range(len(costs[0])) if any_finite(costs, k)]
    rows = [[row[k] for k in columns] for row in costs]
    whole = [bool(row) and all(map(math.isfinite, row)) for row in rows]

    def beats(left: list[float], right: list[float]) -> bool:
        return all(a <= b for a, b in zip(left, right, strict=True)) and left != right

    assert undominated(costs).tolist() == [
        whole[i] and not any(whole[j] and beats(other, row) for j, other in enumerate(rows))
        for i, row in enumerate(rows)
    ]


def any_finite(costs: list[list[float]], column: int) -> bool:
    return any(math.isfinite(row[column]) for row in costs)
