import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from telemetry.capture.budget.cadence import Promise, Spending, ladder, next_cadence

PROMISE = Promise(allowance_s=2.0, budget_share=0.01)
TIMES = st.floats(1e-3, 1e4)


def spending(**values: float) -> Spending:
    return Spending(
        **{
            "elapsed_s": 10.0,
            "cost_s": 0.9,
            "step_s": 0.01,
            "sample_s": 0.02,
            "base_s": 0.0,
            **values,
        }
    )


def test_the_ladder_is_one_two_five_times_powers_of_ten_of_the_finest() -> None:
    assert list(itertools.islice(ladder(3), 7)) == [3, 6, 15, 30, 60, 150, 300]


def test_the_allowance_is_spent_over_the_time_until_the_budget_takes_over() -> None:
    assert PROMISE.allowed_s(200.0) == pytest.approx(2.0)
    assert PROMISE.allowed_s(400.0) == pytest.approx(4.0)
    assert PROMISE.allowed_s(200.0 / 16) == pytest.approx(1.0)


@given(TIMES, st.floats(0.0, 10.0), st.floats(0.0, 1.0))
def test_what_is_allowed_never_exceeds_the_promise(
    elapsed_s: float, allowance_s: float, share: float
) -> None:
    promise = Promise(allowance_s=allowance_s, budget_share=share)
    assert promise.allowed_s(elapsed_s) <= promise.limit_s(elapsed_s) + 1e-12


@given(TIMES)
def test_the_rate_is_the_slope_of_what_is_allowed(elapsed_s: float) -> None:
    width = elapsed_s * 1e-4
    if abs(elapsed_s - 200.0) < 1.0:
        return  # a corner
    slope = (PROMISE.allowed_s(elapsed_s + width) - PROMISE.allowed_s(elapsed_s - width)) / (
        2 * width
    )
    assert PROMISE.rate(elapsed_s) == pytest.approx(slope, rel=1e-3)


@given(TIMES, st.floats(1e-6, 1.0), st.floats(1e-6, 1.0))
def test_dearer_samples_never_come_more_often(
    elapsed_s: float, sample_s: float, more_s: float
) -> None:
    cheap = next_cadence(1, 1, spending(elapsed_s=elapsed_s, sample_s=sample_s), PROMISE)
    dear = next_cadence(1, 1, spending(elapsed_s=elapsed_s, sample_s=sample_s + more_s), PROMISE)
    assert dear >= cheap


def test_savings_are_spent_on_samples() -> None:
    saved = next_cadence(1, 1, spending(cost_s=0.0), PROMISE)
    spent = next_cadence(1, 1, spending(cost_s=0.94), PROMISE)
    assert saved < spent


def test_a_finer_cadence_must_be_affordable_twice_over() -> None:
    at_ten = spending(elapsed_s=1000.0, cost_s=10.0, sample_s=0.0009)
    assert next_cadence(10, 1, at_ten, PROMISE) == 10
    assert next_cadence(20, 1, at_ten, PROMISE) == 20
    assert next_cadence(50, 1, at_ten, PROMISE) == 20


def test_what_other_recording_costs_is_not_left_for_samples() -> None:
    free = next_cadence(1, 1, spending(), PROMISE)
    dear = next_cadence(1, 1, spending(base_s=0.0002), PROMISE)
    assert dear > free


@given(TIMES, st.floats(0.0, 0.003))
def test_what_hooks_cost_and_what_is_left_for_samples_make_up_the_promise(
    elapsed_s: float, base_share: float
) -> None:
    net = PROMISE.for_samples(base_share)
    whole_s = net.limit_s(elapsed_s) + base_share * max(elapsed_s, 200.0)
    assert whole_s == pytest.approx(PROMISE.limit_s(elapsed_s))


def test_dear_hooks_leave_most_of_the_promise_for_samples() -> None:
    net = PROMISE.for_samples(base_share=0.5)
    assert (net.allowance_s, net.budget_share) == pytest.approx((1.4, 0.007))
    without = Promise(allowance_s=2.0, budget_share=0.0)
    assert without.for_samples(base_share=0.5) == without


def test_what_hooks_have_cost_is_not_counted_twice() -> None:
    hooks = spending(elapsed_s=100.0, cost_s=0.5, base_s=0.00002)
    assert hooks.base_share == pytest.approx(0.002, rel=0.01)
    assert hooks.samples_s(PROMISE) == pytest.approx(0.3, rel=0.01)
