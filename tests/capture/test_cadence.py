import itertools
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.capture.cadence import (
    LARGEST_CADENCE,
    Spending,
    allowed_s,
    ladder,
    lasting_gap_s,
    next_cadence,
)

ALLOWANCE_S = 2.0
BUDGET = 0.01
SECONDS = st.floats(0.0, 1e5)
SMALL_SECONDS = st.floats(0.0, 10.0)

SPENDINGS = st.builds(
    Spending,
    elapsed_s=SECONDS,
    samples_s=SECONDS,
    others_s=SECONDS,
    step_s=SMALL_SECONDS,
    sample_s=SMALL_SECONDS,
    base_s=SMALL_SECONDS,
    allowance_s=st.floats(0.0, 10.0),
    budget_share=st.floats(0.0, 1.0),
)


def spending(**changes: float) -> Spending:
    base = Spending(
        elapsed_s=1000.0,
        samples_s=0.0,
        others_s=0.0,
        step_s=0.01,
        sample_s=0.01,
        base_s=0.0,
        allowance_s=ALLOWANCE_S,
        budget_share=BUDGET,
    )
    return replace(base, **changes)


def test_the_ladder_is_one_two_five_and_their_tens() -> None:
    assert list(itertools.islice(ladder(1), 8)) == [1, 2, 5, 10, 20, 50, 100, 200]
    assert list(itertools.islice(ladder(4), 4)) == [4, 8, 20, 40]


@settings(deadline=None)
@given(SECONDS, st.floats(0.0, 10.0), st.floats(0.0, 1.0))
def test_what_is_allowed_never_exceeds_the_promise(t: float, a: float, b: float) -> None:
    allowed = allowed_s(t, allowance_s=a, budget_share=b)
    assert 0 <= allowed <= max(a, b * t) * (1 + 1e-9)


@settings(deadline=None)
@given(SECONDS, SECONDS)
def test_what_is_allowed_grows(t: float, later: float) -> None:
    t, later = sorted((t, later))
    allowed = [allowed_s(x, allowance_s=ALLOWANCE_S, budget_share=BUDGET) for x in (t, later)]
    assert allowed[0] <= allowed[1]


def test_the_allowance_is_spent_over_decades_until_the_budget_takes_over() -> None:
    allowed = [
        allowed_s(t, allowance_s=ALLOWANCE_S, budget_share=BUDGET) for t in (0.2, 2, 20, 200, 400)
    ]
    assert allowed[3:] == [2.0, 4.0]
    shares = [b / a for a, b in itertools.pairwise(allowed[:4])]
    assert shares == pytest.approx([10 ** (1 / 6)] * 3)


def test_without_a_budget_the_allowance_is_all() -> None:
    assert allowed_s(1e9, allowance_s=2.0, budget_share=0.0) == 2.0


def test_cheap_samples_are_taken_at_every_step() -> None:
    assert next_cadence(1, 1, spending(sample_s=1e-5, samples_s=1.0)) == 1


def test_dear_samples_are_spread() -> None:
    cadence = next_cadence(1, 1, spending(samples_s=10.0))
    share = 0.01 / (cadence * 0.01)
    assert cadence in {100, 200}
    assert share <= BUDGET


@pytest.mark.parametrize("finest", [3, 10])
def test_the_finest_cadence_is_kept_and_stretched_by_multiples(finest: int) -> None:
    assert next_cadence(finest, finest, spending(sample_s=1e-6)) == finest
    stretched = next_cadence(finest, finest, spending(samples_s=10.0))
    assert stretched > finest
    assert stretched % finest == 0


def test_a_finer_cadence_must_be_affordable_twice_over() -> None:
    # every 10 steps would just do: who is there stays, who is not does not come
    tight = spending(samples_s=9.9, sample_s=0.001)
    assert next_cadence(10, 1, tight) == 10
    assert next_cadence(20, 1, tight) == 20
    assert next_cadence(20, 1, replace(tight, samples_s=0.1)) == 10


def test_no_more_than_a_quarter_of_the_time_stays_unseen_while_that_can_be_paid() -> None:
    # the allowed part is spent, the promised one is not
    cadence = next_cadence(1, 1, spending(elapsed_s=10.0, samples_s=1.3, sample_s=0.005))
    assert cadence * 0.01 <= 2.5
    assert cadence > 1


def test_few_samples_are_spread_over_the_decades() -> None:
    # 1.5 s are left for samples of 0.5 s until 200 s: at about 10, 45 and 200 s
    dear = spending(elapsed_s=2.3, samples_s=0.5, sample_s=0.5, step_s=0.1)
    assert 5 < lasting_gap_s(dear) < 10
    assert next_cadence(1, 1, dear) == 100


def test_who_has_spent_everything_waits_until_a_sample_is_earned() -> None:
    broke = spending(elapsed_s=50.0, samples_s=2.0, sample_s=0.1)
    assert lasting_gap_s(broke) == pytest.approx(160.0)  # 2.1 s are earned at 210 s
    assert lasting_gap_s(replace(broke, budget_share=0.0)) == math.inf


def test_dear_hooks_leave_a_quarter_for_samples() -> None:
    # hooks alone cost twice the budget
    hooks = spending(elapsed_s=1000.0, others_s=20.0, base_s=0.0002, samples_s=1.0)
    assert hooks.remaining_s == pytest.approx(0.25 * 10.0 - 1.0)
    assert next_cadence(1, 1, hooks) < LARGEST_CADENCE


def test_what_hooks_will_cost_is_set_aside_while_the_allowance_lasts() -> None:
    early = spending(elapsed_s=10.0, others_s=0.05, base_s=5e-5)  # 0.5 % of the time
    assert early.remaining_s == pytest.approx(2.0 - 0.05 - 0.005 * 190, rel=0.01)


@settings(deadline=None)
@given(st.sampled_from([1, 2, 5, 100, 50_000]), st.sampled_from([1, 3]), SPENDINGS)
def test_any_numbers_give_a_cadence_of_the_ladder(
    cadence: int, finest: int, numbers: Spending
) -> None:
    chosen = next_cadence(cadence, finest, numbers)
    assert chosen in {*ladder(finest), LARGEST_CADENCE * finest}
