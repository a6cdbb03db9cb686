import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.compare.statistics.intervals import Estimate
from telemetry.compare.statistics.verdicts import CLAIM_LEVEL, holm, nearest_claim
from telemetry.compare.terms import Direction, Verdict

SWAPPED = {
    Verdict.REGRESSION: Verdict.IMPROVEMENT,
    Verdict.IMPROVEMENT: Verdict.REGRESSION,
}


@pytest.mark.parametrize(
    ("difference", "error", "direction", "expected"),
    [
        (0.5, 0.1, Direction.LOWER, Verdict.REGRESSION),
        (0.5, 0.1, Direction.HIGHER, Verdict.IMPROVEMENT),
        (-0.5, 0.1, Direction.LOWER, Verdict.IMPROVEMENT),
        (-0.5, 0.1, Direction.HIGHER, Verdict.REGRESSION),
        (0.01, 0.01, Direction.LOWER, Verdict.NO_CHANGE),
        (0.2, 0.1, Direction.LOWER, Verdict.REGRESSION),  # z = 2, beyond the margin
        (0.2, 0.12, Direction.LOWER, Verdict.INCONCLUSIVE),  # z = 1.67, p 0.048
        (0.09, 0.01, Direction.LOWER, Verdict.INCONCLUSIVE),  # a change, too near to the margin
        (0.08, 0.01, Direction.LOWER, Verdict.NO_CHANGE),  # a change that does not matter
        (0.0, 0.3, Direction.HIGHER, Verdict.INCONCLUSIVE),
    ],
)
def test_a_claim_takes_a_test_and_a_size(
    difference: float, error: float, direction: Direction, expected: Verdict
) -> None:
    estimate = Estimate(difference=difference, standard_error=error)
    assert nearest_claim(estimate, direction, 0.1).made is expected


def test_the_p_value_of_equality_is_the_larger_of_two_tests() -> None:
    claim = nearest_claim(Estimate(difference=0.05, standard_error=0.05), Direction.LOWER, 0.1)
    assert claim.verdict is Verdict.NO_CHANGE
    assert claim.p == pytest.approx(0.1587, abs=1e-4)  # z = 1 below the upper margin


def test_the_p_value_of_a_change_is_that_of_its_sign() -> None:
    claim = nearest_claim(Estimate(difference=-0.2, standard_error=0.1), Direction.LOWER, 0.1)
    assert claim.verdict is Verdict.IMPROVEMENT
    assert claim.p == pytest.approx(0.02275, abs=1e-4)


def test_what_is_known_exactly_needs_no_test() -> None:
    exact = Estimate(difference=1.0, standard_error=0.0)
    assert nearest_claim(exact, Direction.LOWER, 0.5).made is Verdict.REGRESSION
    assert nearest_claim(exact, Direction.LOWER, 1.0).made is Verdict.NO_CHANGE
    replay = Estimate(difference=0.0, standard_error=0.0)
    assert nearest_claim(replay, Direction.LOWER, 0.0).made is Verdict.NO_CHANGE


@settings(deadline=None)
@given(
    difference=st.floats(-5, 5),
    error=st.floats(0, 2),
    margin=st.floats(0, 1),
    df=st.floats(1, 50),
)
def test_swapping_the_runs_swaps_the_verdict(
    difference: float, error: float, margin: float, df: float
) -> None:
    there, back = (
        nearest_claim(
            Estimate(difference=d, standard_error=error, df=df), Direction.LOWER, margin
        ).made
        for d in (difference, -difference)
    )
    assert back is SWAPPED.get(there, there)


@settings(deadline=None)
@given(difference=st.floats(-5, 5), error=st.floats(1e-3, 2), df=st.floats(1, 50))
def test_no_difference_is_both_a_change_and_none(
    difference: float, error: float, df: float
) -> None:
    estimate = Estimate(difference=difference, standard_error=error, df=df)
    wide = nearest_claim(estimate, Direction.LOWER, 10.0)
    narrow = nearest_claim(estimate, Direction.LOWER, 0.0)
    assert wide.verdict is Verdict.NO_CHANGE
    if difference != 0 and narrow.p <= CLAIM_LEVEL:
        assert narrow.made is (Verdict.REGRESSION if difference > 0 else Verdict.IMPROVEMENT)


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
