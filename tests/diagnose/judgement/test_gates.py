import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.diagnose.judgement.gates import (
    excursion,
    persistence,
    sustained_width,
    usual,
    warm_in,
)

STEPS = np.arange(0, 100, 10)


def flags(text: str) -> np.ndarray:
    return np.array([letter == "x" for letter in text])


def test_three_of_five_samples_persist() -> None:
    held = persistence(STEPS, flags("..x.xx.xxx"))
    assert held is not None
    assert (held.first_step, held.last_step) == (20, 90)
    assert list(held.where) == [2, 4, 5, 7, 8, 9]


def test_two_samples_do_not_persist() -> None:
    assert persistence(STEPS, flags("..x.x.....")) is None


def test_three_samples_far_apart_do_not_persist() -> None:
    assert persistence(STEPS, flags("x....x...x")) is None


def test_what_goes_away_does_not_persist() -> None:
    assert persistence(STEPS, flags("xxx.......")) is None
    assert persistence(STEPS, flags("xxx......."), lasting_share=0.0) is not None


def test_samples_before_the_start_do_not_count() -> None:
    assert persistence(STEPS, flags("xxx......."), start=30, lasting_share=0.0) is None
    held = persistence(STEPS, flags("xxxxx....."), start=20, lasting_share=0.0)
    assert held is not None
    assert held.first_step == 20


@settings(deadline=None)
@given(st.lists(st.booleans(), max_size=40), st.integers(1, 5), st.integers(1, 8))
def test_what_persists_holds_where_it_says(values: list[bool], k: int, n: int) -> None:
    steps = np.arange(len(values)) * 7
    condition = np.array(values, dtype=bool)
    held = persistence(steps, condition, k=k, n=max(k, n))
    if held is not None:
        assert condition[held.where].all()
        assert held.where.size >= k
        assert held.first_step == steps[held.where[0]]


def test_warm_in_is_twenty_steps_or_a_fiftieth_of_the_plan() -> None:
    assert warm_in(None) == 20
    assert warm_in(100) == 20
    assert warm_in(10_000) == 200


def test_an_excursion_is_the_highest_loss_after_the_first() -> None:
    losses = np.array([9.0, 2.0, 6.0, 2.0, 1.0])
    assert excursion(losses, 2.0, width=1) == (3.0, 2)
    assert excursion(losses, 2.0, width=3) == (pytest.approx(3.0), 1)


def test_one_hard_batch_is_no_sustained_excursion() -> None:
    losses = np.full(50, 2.0)
    losses[20] = 40.0
    found = excursion(losses, 2.0, width=3)
    assert found is not None
    assert found[0] == 1.0


def test_an_excursion_needs_two_finite_losses() -> None:
    assert excursion(np.array([1.0]), 1.0, width=1) is None
    assert excursion(np.array([1.0, np.nan]), 1.0, width=1) is None
    assert excursion(np.array([1.0, 2.0]), 0.0, width=1) is None
    assert excursion(np.array([1.0, 2.0]), float("nan"), width=1) is None


def test_small_batches_are_compared_over_more_steps() -> None:
    assert sustained_width(64) == 3
    assert sustained_width(2) == 17
    assert sustained_width(1) == 25


def test_what_was_not_recorded_has_a_fallback() -> None:
    assert usual(np.array([np.nan, 4.0]), 16.0) == 4.0
    assert usual(np.array([np.nan]), 16.0) == 16.0
