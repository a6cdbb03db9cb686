import pytest

from telemetry.explain.perturbation.sweeps import (
    Turn,
    bisected,
    failing_intervals,
    is_monotone,
    nearest,
    turns,
    wilson,
)

VALUES = [-0.2, -0.1, 0.0, 0.1, 0.2, 0.3]


def test_a_turn_is_the_first_on_its_side() -> None:
    right = [False, True, True, True, False, True]
    found = turns(VALUES, right, 0.0)
    assert found == [Turn(right=-0.1, wrong=-0.2), Turn(right=0.1, wrong=0.2)]
    assert nearest(found, 0.0) in {-0.2, 0.2}
    assert not is_monotone(VALUES, right, 0.0)
    assert failing_intervals(VALUES, right) == [(-0.2, -0.2), (0.2, 0.2)]


def test_what_is_wrong_without_a_change_has_no_turn() -> None:
    right = [True, False, False, False, True, True]
    assert turns(VALUES, right, 0.0) == []
    assert nearest([], 0.0) is None
    assert failing_intervals(VALUES, right) == [(-0.1, 0.1)]
    assert not is_monotone(VALUES, right, 0.0)


def test_what_never_comes_back_is_monotone() -> None:
    assert is_monotone(VALUES, [False, False, True, True, False, False], 0.0)
    assert is_monotone(VALUES, [True] * 6, 0.0)


def test_bisection_keeps_the_truth_inside_an_eighth() -> None:
    asked: list[float] = []

    def is_right(value: float) -> bool:
        asked.append(value)
        return value < 0.33

    found = bisected(Turn(right=0.0, wrong=0.8), is_right)
    assert found.right < 0.33 <= found.wrong
    assert found.wrong - found.right == pytest.approx(0.1)
    assert len(asked) == 3


@pytest.mark.parametrize(
    ("n_right", "n", "low", "high"),
    [(8, 10, 0.4902, 0.9433), (0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0)],
)
def test_the_interval_of_a_share_is_wilson_s(n_right: int, n: int, low: float, high: float) -> None:
    assert wilson(n_right, n) == pytest.approx((low, high), abs=1e-4)
