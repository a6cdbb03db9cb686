"""Samples that a run gets whatever they cost."""

import itertools

import pytest
from governed import Loop
from hypothesis import given
from hypothesis import strategies as st

from telemetry.capture.budget.floor import FLOOR_SAMPLES, Floor

DEAR_S = 50.0  # a sample that no budget pays
LENGTHS = st.integers(60, 20_000)


def steps_of(n_steps: int, *, every: int = 1, total: int | None = None) -> list[int]:
    floor = Floor(every=every, total_steps=total)
    return [step for step in range(n_steps) if floor.has(step)]


@given(LENGTHS, st.booleans())
def test_a_run_of_any_length_has_its_samples(n_steps: int, is_known: bool) -> None:  # noqa: FBT001
    steps = steps_of(n_steps, total=n_steps if is_known else None)
    assert len(steps) >= FLOOR_SAMPLES
    assert sum(step < 30 for step in steps) >= 8
    assert len(steps) <= 110  # however long: it is a floor, and no cadence


@given(st.integers(24, 59))
def test_a_short_run_whose_length_is_known_has_as_many(n_steps: int) -> None:
    assert len(steps_of(n_steps, total=n_steps)) >= FLOOR_SAMPLES


@given(LENGTHS)
def test_a_run_whose_length_nobody_knows_has_them_to_its_end(n_steps: int) -> None:
    steps = steps_of(n_steps)
    assert n_steps - steps[-1] <= max(2, n_steps / 8)


def test_a_run_whose_length_is_known_has_them_more_evenly() -> None:
    gaps = [b - a for a, b in itertools.pairwise(steps_of(6000, total=6000))]
    assert max(gaps) <= 6000 / 16
    assert max(b - a for a, b in itertools.pairwise(steps_of(6000))) > 6000 / 16


def test_a_run_that_goes_on_after_its_plan_is_sampled_as_one_without_a_plan() -> None:
    late = [step for step in steps_of(50_000, total=100) if step > 1000]
    assert len(late) <= 36


def test_a_cadence_that_was_asked_for_has_a_floor_of_its_own_samples() -> None:
    assert steps_of(100 * 7, every=7) == [7 * step for step in steps_of(100)]


def test_what_earlier_attempts_have_had_is_not_owed_again() -> None:
    floor = Floor(every=1, total_steps=None)
    assert [step for step in range(1000, 1300) if floor.has(step)] == [
        step for step in steps_of(1300) if step >= 1000
    ]


@pytest.mark.parametrize("total", [None, 300])
def test_samples_that_no_budget_pays_are_taken(total: int | None) -> None:
    loop = Loop(total_steps=total).run(300, step_s=0.01, sample_s=DEAR_S)
    assert len(loop.samples) >= FLOOR_SAMPLES
    assert loop.chosen == []


def test_what_is_owed_is_paid_back_by_the_others() -> None:
    loop = Loop().run(200_000, step_s=0.01, sample_s=0.2)
    assert loop.governor.overhead_share <= 0.011
    assert loop.worst_excess_s <= 1e-9
