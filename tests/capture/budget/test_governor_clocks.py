"""The governor under clocks and loops that do not behave."""

import math

import pytest
from governed import Loop
from hypothesis import given, settings
from hypothesis import strategies as st

HOUR_S = 3600.0


def test_a_first_step_of_a_minute_is_no_measure_of_the_others() -> None:
    loop = Loop().run(1, step_s=60.0, sample_s=0.5)
    loop.run(50_000, step_s=0.001, sample_s=0.004)
    assert loop.worst_excess_s <= 0
    assert loop.longest_gap_share(after_s=60.0) < 0.05
    assert loop.allowed_steps()


def test_a_first_sample_of_seconds_is_set_up_and_nothing_has_to_be_paid_back() -> None:
    loop = Loop().run(1, step_s=60.0, sample_s=5.0)
    loop.run(100, step_s=0.1, sample_s=0.004)
    assert len(loop.samples) == 101
    assert loop.governor.set_up_s == pytest.approx(5.0)


@pytest.mark.parametrize(("before_s", "after_s"), [(0.001, 0.01), (0.01, 0.001)])
def test_steps_that_change_tenfold_keep_the_promise_and_are_seen(
    before_s: float, after_s: float
) -> None:
    loop = Loop().run(20_000, step_s=before_s, sample_s=0.004)
    loop.run(20_000, step_s=after_s, sample_s=0.004)
    assert loop.worst_excess_s <= 0
    assert loop.longest_gap_share(after_s=1.0) < 0.3
    assert loop.allowed_steps()
    assert 1 < len(loop.changes) < 20


def test_steps_and_samples_that_become_ten_times_dearer_together() -> None:
    loop = Loop().run(20_000, step_s=0.001, sample_s=0.004)
    loop.run(20_000, step_s=0.01, sample_s=0.04)
    assert loop.worst_excess_s <= 0
    assert loop.longest_gap_share(after_s=1.0) < 0.6


def test_a_clock_that_jumps_ahead_does_not_blind_the_run() -> None:
    loop = Loop().run(3000, step_s=0.01, sample_s=0.004)
    loop.now_s += 8 * HOUR_S
    taken = len(loop.samples)
    loop.run(10_000, step_s=0.01, sample_s=0.004)
    assert len(loop.samples) - taken > 100
    assert loop.worst_excess_s <= 0


@pytest.mark.parametrize("jump_s", [3.0, HOUR_S])
def test_a_clock_that_is_set_back_costs_no_more_than_time(jump_s: float) -> None:
    loop = Loop().run(3000, step_s=0.01, sample_s=0.004)
    before_s, taken = loop.governor.elapsed_s, len(loop.samples)
    loop.now_s -= jump_s
    assert loop.governor.elapsed_s == pytest.approx(before_s)
    loop.run(3000, step_s=0.01, sample_s=0.004)
    assert loop.governor.elapsed_s == pytest.approx(2 * before_s, rel=0.1)
    assert len(loop.samples) - taken > 50
    assert 0 < loop.governor.allowed_s <= 2.0
    assert loop.worst_excess_s <= 0


def test_a_machine_that_sleeps_during_a_sample_does_not_blind_the_run() -> None:
    loop = Loop().run(3000, step_s=0.01, sample_s=0.004)
    loop.run(-loop.step % loop.governor.cadence, step_s=0.01, sample_s=0.004)
    loop.run(1, step_s=0.01, sample_s=8 * HOUR_S)
    assert loop.samples[-1][0] == loop.step - 1
    assert loop.governor.cost_s < 2.0
    taken = len(loop.samples)
    loop.run(10_000, step_s=0.01, sample_s=0.004)
    assert len(loop.samples) - taken > 50


def test_a_sample_that_always_takes_minutes_is_believed() -> None:
    loop = Loop().run(400, step_s=100.0, sample_s=90.0)
    assert loop.governor.cost_s == 90.0 * (len(loop.samples) - 1)
    assert loop.chosen == []


def test_a_negative_time_costs_nothing() -> None:
    loop = Loop()
    loop.governor.charge(-5.0)
    assert loop.governor.cost_s == 0.0


def test_nothing_may_be_spent_where_nothing_is_allowed() -> None:
    loop = Loop(budget_share=0.0, allowance_s=0.0).run(1000, step_s=0.001, sample_s=0.004)
    assert loop.samples == []
    assert loop.governor.cost_s == 0.0


@pytest.mark.parametrize("every", [5, 7])
def test_a_cadence_that_was_asked_for_keeps_the_promise_too(every: int) -> None:
    loop = Loop(every=every).run(60_000, step_s=0.001, sample_s=0.004)
    assert loop.worst_excess_s <= 0
    assert loop.changes
    assert all(change.after % every == 0 for change in loop.changes)
    assert loop.allowed_steps()


STEPS = st.tuples(
    st.floats(1e-4, 1.0),  # a step
    st.floats(1e-5, 0.2),  # a sample
    st.integers(1, 150),  # so often
)


@settings(deadline=None, max_examples=60)
@given(
    phases=st.lists(STEPS, min_size=1, max_size=12),
    every=st.sampled_from([None, 1, 3, 10]),
    budget_share=st.sampled_from([0.0, 0.001, 0.01, 0.1, 1.0]),
    allowance_s=st.sampled_from([0.0, 0.1, 2.0]),
)
def test_the_promise_is_broken_by_what_nobody_could_know_and_by_no_more(
    phases: list[tuple[float, float, int]],
    every: int | None,
    budget_share: float,
    allowance_s: float,
) -> None:
    """By one sample: the first, or one that is dearer than the five before it."""
    loop = Loop(every=every, budget_share=budget_share, allowance_s=allowance_s)
    dearest_s = 0.0
    for step_s, sample_s, n_steps in phases:
        loop.run(n_steps, step_s=step_s, sample_s=sample_s)
        dearest_s = max(dearest_s, sample_s)
    assert loop.worst_excess_s <= dearest_s + 1e-9
    assert loop.allowed_steps()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(1e-4, 0.05), min_size=20, max_size=400), st.floats(1e-5, 0.02))
def test_the_promise_holds_whatever_steps_take_while_samples_cost_the_same(
    steps: list[float], sample_s: float
) -> None:
    loop = Loop()
    for step_s in steps * 3:
        loop.run(1, step_s=step_s, sample_s=sample_s)
    assert loop.worst_excess_s <= 1e-9
    assert loop.allowed_steps()


def test_without_a_limit_nothing_is_promised() -> None:
    loop = Loop(budget_share=None)
    assert loop.governor.limit_s == loop.governor.allowed_s == math.inf
