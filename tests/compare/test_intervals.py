import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.compare.diff_result import Direction, Verdict
from telemetry.compare.intervals import (
    Estimate,
    combined_error,
    holm,
    judge,
    p_of_change,
    replicates_difference,
    replicates_needed,
)


def test_equal_groups_use_the_interval_of_student() -> None:
    base, candidate = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
    estimate = replicates_difference(base, candidate)
    assert estimate.df == 4
    low, high = estimate.interval()
    assert (low, high) == pytest.approx((3 - 2.77645 * math.sqrt(2 / 3), 3 + 2.26697), abs=1e-4)


def test_unequal_groups_use_the_degrees_of_freedom_of_welch() -> None:
    base = np.array([27.5, 21.0, 19.0, 23.6, 17.0, 17.9])
    candidate = np.array([27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0])
    estimate = replicates_difference(base, candidate)
    variances = base.var(ddof=1) / 6, candidate.var(ddof=1) / 8
    assert estimate.standard_error == pytest.approx(math.sqrt(sum(variances)))
    expected = sum(variances) ** 2 / (variances[0] ** 2 / 5 + variances[1] ** 2 / 7)
    assert estimate.df == pytest.approx(expected)


def test_a_single_run_borrows_the_spread_of_the_group() -> None:
    estimate = replicates_difference(np.array([1.0, 2.0, 3.0]), np.array([4.0]))
    assert estimate.df == 2
    assert estimate.standard_error == pytest.approx(math.sqrt(1 / 3 + 1))


def test_equal_values_are_not_certain_when_the_metric_has_a_resolution() -> None:
    base, candidate = np.array([0.97, 0.97, 0.97]), np.array([0.96, 0.96, 0.96])
    assert replicates_difference(base, candidate).standard_error == pytest.approx(0, abs=1e-12)
    assert replicates_difference(base, candidate, error_floor=0.005).interval()[1] > 0


@pytest.mark.parametrize(
    ("difference", "error", "direction", "expected"),
    [
        (0.5, 0.1, Direction.LOWER, Verdict.REGRESSION),
        (0.5, 0.1, Direction.HIGHER, Verdict.IMPROVEMENT),
        (-0.5, 0.1, Direction.LOWER, Verdict.IMPROVEMENT),
        (-0.5, 0.1, Direction.HIGHER, Verdict.REGRESSION),
        (0.01, 0.01, Direction.LOWER, Verdict.NO_CHANGE),
        (0.2, 0.1, Direction.LOWER, Verdict.INCONCLUSIVE),
        (0.0, 0.3, Direction.HIGHER, Verdict.INCONCLUSIVE),
    ],
)
def test_the_whole_interval_decides(
    difference: float, error: float, direction: Direction, expected: Verdict
) -> None:
    estimate = Estimate(difference=difference, standard_error=error)
    assert judge(estimate, direction, 0.1) is expected


numbers = st.floats(-5, 5)
errors = st.floats(0, 2)


@settings(deadline=None)
@given(difference=numbers, error=errors, margin=st.floats(0, 1), df=st.floats(1, 50))
def test_swapping_the_runs_swaps_the_verdict(
    difference: float, error: float, margin: float, df: float
) -> None:
    estimate = Estimate(difference=difference, standard_error=error, df=df)
    swapped = {
        Verdict.REGRESSION: Verdict.IMPROVEMENT,
        Verdict.IMPROVEMENT: Verdict.REGRESSION,
    }
    there = judge(estimate, Direction.LOWER, margin)
    back = judge(estimate.scaled(-1), Direction.LOWER, margin)
    assert back is swapped.get(there, there)


@settings(deadline=None)
@given(difference=numbers, error=st.floats(1e-3, 2), margin=st.floats(0, 1), df=st.floats(1, 50))
def test_a_change_is_claimed_exactly_when_its_p_value_is_below_the_level(
    difference: float, error: float, margin: float, df: float
) -> None:
    estimate = Estimate(difference=difference, standard_error=error, df=df)
    p = p_of_change(estimate, margin)
    if abs(p - 0.05) > 1e-6:
        claimed = judge(estimate, Direction.LOWER, margin) in {
            Verdict.REGRESSION,
            Verdict.IMPROVEMENT,
        }
        assert claimed == (p < 0.05)


def test_an_exact_difference_has_an_exact_p_value() -> None:
    exact = Estimate(difference=1.0, standard_error=0.0)
    assert p_of_change(exact, 0.5) == 0.0
    assert p_of_change(exact, 2.0) == 1.0


def test_holm_multiplies_by_the_number_of_metrics_left() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@settings(deadline=None)
@given(p_values=st.lists(st.floats(0, 1), max_size=8))
def test_adjusted_p_values_are_never_smaller_and_keep_the_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(p <= q <= 1 for p, q in zip(p_values, adjusted, strict=True))
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_a_known_error_adds_to_a_measured_one_and_to_its_degrees_of_freedom() -> None:
    total, df = combined_error(3.0, 4.0, 4.0)
    assert total == 5.0
    assert df == pytest.approx(4 * (5 / 3) ** 4)
    assert combined_error(0.0, 4.0, 2.0) == (2.0, math.inf)


def test_more_runs_are_needed_for_smaller_differences() -> None:
    few = replicates_needed(Estimate(difference=3.0, standard_error=1.0), 1.0, 0.1)
    many = replicates_needed(Estimate(difference=0.6, standard_error=1.0), 1.0, 0.1)
    assert few is not None
    assert many is not None
    assert few < many
    assert replicates_needed(Estimate(difference=0.1, standard_error=1.0), 1.0, 0.1) is None
