import math

import pytest
from governed import Loop
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.capture.budget.governor import CadenceChange


def test_cheap_samples_are_taken_at_every_step() -> None:
    loop = Loop().run(500, step_s=0.1, sample_s=0.0005)
    assert len(loop.samples) == 500
    assert loop.changes == []


def test_a_short_run_is_observed_at_every_step() -> None:
    loop = Loop().run(35, step_s=0.001, sample_s=0.004)
    assert len(loop.samples) == 35


def test_a_long_run_keeps_to_the_budget_and_uses_it() -> None:
    loop = Loop().run(40_000, step_s=0.01, sample_s=0.02)
    assert loop.worst_excess_s <= 1e-9
    assert 0.004 < loop.governor.overhead_share <= 0.01


def test_fast_steps_with_dear_samples_are_seen_throughout() -> None:
    loop = Loop().run(250_000, step_s=0.001, sample_s=0.02)
    assert loop.longest_gap_share(after_s=0.5) <= 0.3
    assert loop.worst_excess_s <= 1e-9


def test_samples_lie_on_multiples_of_the_cadence() -> None:
    loop = Loop().run(20_000, step_s=0.001, sample_s=0.004)
    assert loop.changes
    assert loop.allowed_steps()


def test_every_change_is_told_with_its_numbers() -> None:
    loop = Loop().run(2000, step_s=0.001, sample_s=0.004)
    change = loop.changes[0]
    assert change.before == 1
    assert change.after > 1
    assert [b.before for b in loop.changes[1:]] == [a.after for a in loop.changes[:-1]]
    assert str(change).startswith(f"sampling every {change.after} steps instead of every step: ")
    assert change.payload() == {
        "before": 1,
        "after": change.after,
        "cost_s": change.cost_s,
        "elapsed_s": change.elapsed_s,
    }
    assert len(loop.changes) < 15


def test_a_return_to_every_step_reads_well() -> None:
    change = CadenceChange(step=9, before=2, after=1, cost_s=0.0, elapsed_s=0.0)
    assert (
        str(change)
        == "sampling every step instead of every 2: recording has taken 0.0% of the time so far"
    )


def test_a_fixed_cadence_without_a_budget_never_changes() -> None:
    loop = Loop(every=10, budget_share=None).run(100, step_s=0.001, sample_s=5.0)
    assert [step for step, _ in loop.samples] == list(range(0, 100, 10))
    assert loop.changes == []
    assert loop.governor.allowed_s == math.inf


def test_without_budget_and_cadence_every_step_is_sampled() -> None:
    assert len(Loop(budget_share=None).run(50, step_s=0.001, sample_s=1.0).samples) == 50


def test_a_fixed_cadence_is_the_finest_and_is_stretched_by_multiples() -> None:
    cheap = Loop(every=7).run(70, step_s=0.1, sample_s=0.0001)
    assert [step for step, _ in cheap.samples] == list(range(0, 70, 7))
    dear = Loop(every=7).run(20_000, step_s=0.001, sample_s=0.02)
    assert dear.changes
    assert all(step % 7 == 0 for step, _ in dear.samples)
    assert dear.worst_excess_s <= 1e-9


def test_the_answer_for_a_step_does_not_change() -> None:
    loop = Loop()
    assert loop.governor.sampled(0)
    loop.spend(100.0)
    assert loop.governor.sampled(0)


def test_a_sample_that_would_break_the_promise_is_not_taken() -> None:
    loop = Loop(allowance_s=1.0).run(300, step_s=1.0, sample_s=0.9)
    assert loop.chosen == []  # what the floor has cost is not paid back yet
    loop.run(9000, step_s=1.0, sample_s=0.9)
    assert len(loop.chosen) >= 2
    assert loop.worst_excess_s <= 1e-9


def test_one_cold_first_sample_does_not_decide_the_rest() -> None:
    loop = Loop()
    loop.run(1, step_s=0.01, sample_s=0.5)
    loop.run(10_000, step_s=0.01, sample_s=0.001)
    warm = Loop().run(10_001, step_s=0.01, sample_s=0.001)
    assert loop.governor.set_up_s == pytest.approx(0.5)
    assert len(loop.samples) == pytest.approx(len(warm.samples), rel=0.02)


def test_an_evaluation_between_steps_does_not_pass_for_slow_steps() -> None:
    loop = Loop()
    for _ in range(20):
        loop.run(2000, step_s=0.001, sample_s=0.004)
        loop.now_s += 20.0
    assert len(loop.changes) < 20
    assert loop.worst_excess_s <= 1e-9


def test_steps_that_become_slower_are_sampled_again_soon() -> None:
    loop = Loop().run(100_000, step_s=0.001, sample_s=0.02)
    before_s, cadence = loop.governor.elapsed_s, loop.governor.cadence
    loop.run(cadence, step_s=1.0, sample_s=0.02)
    first_s = next(seconds for _, seconds in loop.samples if seconds > before_s)
    assert first_s - before_s < 0.25 * cadence


def test_dear_hooks_do_not_make_a_run_blind() -> None:
    loop = Loop().run(300_000, step_s=0.001, sample_s=0.004, base_s=0.00002)
    assert loop.longest_gap_share(after_s=1.0) < 1.0


def test_what_is_recorded_between_samples_is_within_the_promise() -> None:
    loop = Loop().run(250_000, step_s=0.001, sample_s=0.004, base_s=0.000003)
    assert loop.worst_excess_s <= 1e-9
    assert loop.longest_gap_share(after_s=0.5) <= 0.25


def test_a_budget_without_an_allowance_samples_first_and_saves_then() -> None:
    loop = Loop(allowance_s=0.0).run(60_000, step_s=0.001, sample_s=0.004)
    assert loop.samples[0][0] == 0
    assert loop.chosen
    assert loop.governor.overhead_share <= 0.011


def test_a_budget_of_nothing_spends_the_allowance_and_what_is_owed() -> None:
    loop = Loop(budget_share=0.0, allowance_s=0.1).run(5000, step_s=0.001, sample_s=0.004)
    assert loop.chosen
    assert loop.worst_excess_s <= 1e-9


def test_the_share_is_known_at_any_time() -> None:
    loop = Loop()
    assert loop.governor.overhead_share == 0.0
    loop.run(1, step_s=0.9, sample_s=0.1)
    assert loop.governor.overhead_share == pytest.approx(0.1)
    assert 0 < loop.governor.allowed_s < 2.0


COSTS = st.floats(1e-5, 0.3)


@settings(deadline=None, max_examples=40)
@given(
    step_s=st.floats(1e-3, 0.5),
    sample_s=COSTS,
    budget_share=st.floats(0.002, 0.1),
    allowance_s=st.floats(0.3, 5.0),
    every=st.sampled_from([None, 1, 3, 10]),
)
def test_the_promise_holds_whatever_samples_and_steps_cost(
    step_s: float, sample_s: float, budget_share: float, allowance_s: float, every: int | None
) -> None:
    loop = Loop(every=every, budget_share=budget_share, allowance_s=allowance_s)
    loop.run(1500, step_s=step_s, sample_s=sample_s)
    assert loop.worst_excess_s <= 1e-9
    assert loop.samples[0][0] == 0


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.floats(1e-4, 0.1), st.floats(1e-5, 0.02)), min_size=1, max_size=8))
def test_the_promise_holds_to_one_sample_when_costs_change(
    phases: list[tuple[float, float]],
) -> None:
    loop = Loop()
    for step_s, sample_s in phases:
        loop.run(400, step_s=step_s, sample_s=sample_s)
    assert loop.worst_excess_s <= max(sample_s for _, sample_s in phases)
