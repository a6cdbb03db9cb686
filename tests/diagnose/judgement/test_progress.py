import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.diagnose.judgement.progress import COMES_DOWN, NO_FURTHER, Baseline, State, progress

LN10 = math.log(10)
CLASSES = Baseline(naive=LN10, constant=LN10, kind="cross_entropy")
UNKNOWN = Baseline()


def curve(n: int, start: float, end: float, noise: float, seed: int = 0) -> np.ndarray:
    fall = end + (start - end) * np.exp(-5 * np.arange(n) / n)
    return fall * (1 + noise * np.random.default_rng(seed).standard_normal(n))


def level(n: int, value: float, noise: float, seed: int = 0) -> np.ndarray:
    return value * (1 + noise * np.random.default_rng(seed).standard_normal(n))


def test_a_falling_loss_is_learning() -> None:
    found = progress(curve(300, 2.4, 0.2, 0.1), CLASSES)
    assert found.state is State.LEARNING
    assert found.improving
    assert not found.failing


def test_a_loss_at_the_level_of_guessing_is_stalled() -> None:
    assert progress(level(300, LN10, 0.01), CLASSES).state is State.STALLED
    assert progress(level(300, 7.0, 0.01), UNKNOWN).state is State.STALLED


def test_sliding_to_the_level_of_guessing_is_stalled() -> None:
    """A dead network whose last layer finds the label frequencies falls by 7 %."""
    losses = LN10 + 0.17 * np.exp(-np.arange(300) / 15)
    losses += 0.01 * np.random.default_rng(0).standard_normal(300)
    assert progress(losses, CLASSES).state is State.STALLED


def test_a_slow_run_is_learning() -> None:
    losses = np.linspace(2.30, 2.13, 200) + 0.03 * np.random.default_rng(0).standard_normal(200)
    assert progress(losses, CLASSES).state is State.LEARNING


def test_a_run_that_learned_in_its_first_percent_has_learned() -> None:
    losses = np.concatenate([np.linspace(2.3, 0.3, 60), level(10_000, 0.3, 0.1)])
    assert progress(losses, UNKNOWN).improving


def test_a_flat_run_far_below_guessing_is_converged() -> None:
    assert progress(level(200, 0.5, 0.1), CLASSES).state is State.CONVERGED


def test_a_rising_loss_is_diverged() -> None:
    rising = np.linspace(2.3, 9.0, 200)
    assert progress(rising, CLASSES).state is State.DIVERGED
    assert progress(rising, UNKNOWN).state is State.DIVERGED


def test_recovering_from_an_explosion_is_not_learning() -> None:
    losses = np.concatenate([[2.3], 200 * np.exp(-np.arange(299) / 60) + 9.0])
    assert progress(losses, CLASSES).state is State.DIVERGED


def test_a_loss_that_ends_in_nan_is_diverged() -> None:
    losses = np.concatenate([curve(100, 2.3, 0.5, 0.05), np.full(40, np.nan)])
    assert progress(losses, CLASSES).state is State.DIVERGED
    assert progress(np.full(5, np.nan), UNKNOWN).state is State.DIVERGED


def test_a_single_nan_decides_nothing() -> None:
    losses = curve(300, 2.3, 0.2, 0.05)
    losses[150] = np.nan
    assert progress(losses, CLASSES).state is State.LEARNING


def test_few_losses_say_nothing() -> None:
    found = progress(curve(19, 2.3, 0.2, 0.05), CLASSES)
    assert found.state is State.UNKNOWN
    assert not found.measurable
    assert "20 are needed" in found.reason


def test_a_noisy_run_of_batches_of_one_is_not_called_stalled() -> None:
    losses = np.abs(np.random.default_rng(0).standard_normal(100)) * 2.3
    found = progress(losses, UNKNOWN)
    assert found.state is State.UNKNOWN
    assert found.measurable


def test_a_loss_of_either_sign_that_rises_steadily_is_not_failing() -> None:
    rng = np.random.default_rng(0)
    assert progress(rng.standard_normal(300), UNKNOWN).state is State.UNKNOWN
    assert progress(np.linspace(-1, 3, 300), UNKNOWN).state is State.UNKNOWN
    assert not progress(np.linspace(-1, 3, 300), UNKNOWN).measurable
    assert progress(np.linspace(-0.01, 9, 300), UNKNOWN).state is State.UNKNOWN


def test_a_negative_loss_that_falls_is_learning() -> None:
    losses = np.linspace(-1, -3, 300) + 0.05 * np.random.default_rng(0).standard_normal(300)
    assert progress(losses, UNKNOWN).state is State.LEARNING


def test_a_loss_of_either_sign_has_diverged_far_above_the_range_of_its_first_values() -> None:
    """Its first ten values range over less than 4: the limit is 16 times that."""
    noise = np.random.default_rng(0).standard_normal(300)
    lost = noise + np.where(np.arange(300) < 40, 0.0, 80.0)
    found = progress(lost, UNKNOWN)
    assert (found.state, found.measurable) == (State.DIVERGED, False)
    assert found.rise > 100
    higher = noise + np.where(np.arange(300) < 40, 0.0, 20.0)
    assert progress(higher, UNKNOWN).state is State.UNKNOWN


def test_a_rise_is_measured_in_the_noise_of_its_medians() -> None:
    """Medians of 10 and 30 values of noise 1: 1.25 x sqrt(1/10 + 1/30) = 0.46."""
    losses = 5 + np.random.default_rng(0).standard_normal(300)
    losses[-30:] += 4.6
    assert progress(losses, UNKNOWN).rise == pytest.approx(10, abs=2)


def test_a_fall_from_a_bad_start_is_no_learning_before_it_passes_the_best_constant_answer() -> None:
    constant = Baseline(naive=10.0, constant=7.0, kind="cross_entropy")
    losses = np.linspace(10.0, 7.3, 200) + 0.05 * np.random.default_rng(0).standard_normal(200)
    found = progress(losses, constant)
    assert (found.state, found.reason) == (State.UNKNOWN, COMES_DOWN)
    assert progress(losses - 1.0, constant).state is State.LEARNING


def test_a_fall_that_ends_at_the_best_constant_answer_is_told_as_such() -> None:
    losses = np.concatenate([np.linspace(2.5, 1.05, 200), level(200, 1.05, 0.02)])
    found = progress(losses, Baseline(constant=1.0))
    assert (found.state, found.reason) == (State.UNKNOWN, NO_FURTHER)
    assert progress(losses, Baseline(constant=1.2)).state is State.LEARNING


def test_a_loss_that_ends_above_its_start_is_not_learning() -> None:
    """It rises at first, and the window of the first tenth sees only the fall after that."""
    losses = np.concatenate([np.full(10, 6.74), np.linspace(9.0, 6.85, 190)])
    losses = losses + 0.01 * np.random.default_rng(0).standard_normal(200)
    assert not progress(losses, Baseline()).improving


def test_a_loss_back_at_the_level_of_guessing_is_stalled_whatever_went_before() -> None:
    """It begins 5 % above and doubles on the way: the thirds differ by more than 15 %."""
    course = 1 + 0.05 * (np.arange(300) < 40) + np.exp(-(((np.arange(300) - 80) / 30) ** 2))
    losses = LN10 * course * level(300, 1.0, 0.01)
    assert progress(losses, CLASSES).state is State.STALLED
    # Half way down from a high start it is not known.
    falling = np.linspace(1.5, 1.15, 60) * LN10 * level(60, 1.0, 0.15)
    assert progress(falling, CLASSES).state is State.UNKNOWN


def test_no_loss_at_all_is_unknown() -> None:
    assert progress(np.zeros(0), UNKNOWN).state is State.UNKNOWN


shapes = st.sampled_from(["curve", "level", "rise", "slide"])


@settings(deadline=None, max_examples=60)
@given(shapes, st.integers(0, 20), st.floats(1e-6, 1e6))
def test_multiplying_the_loss_changes_no_verdict(shape: str, seed: int, factor: float) -> None:
    losses = {
        "curve": curve(200, 2.4, 0.3, 0.1, seed),
        "level": level(200, 2.3, 0.02, seed),
        "rise": np.linspace(1, 4, 200) * level(200, 1.0, 0.1, seed),
        "slide": curve(200, 2.45, 2.3, 0.01, seed),
    }[shape]
    for naive in (None, LN10):
        plain = progress(losses, Baseline(naive=naive, constant=naive))
        scaled_level = None if naive is None else naive * factor
        scaled = progress(losses * factor, Baseline(naive=scaled_level, constant=scaled_level))
        assert scaled.state is plain.state
        assert scaled.r == pytest.approx(plain.r, rel=1e-6, abs=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=80))
def test_any_series_of_numbers_has_a_state(values: list[float]) -> None:
    assert progress(np.array(values, dtype=np.float64), CLASSES).state in State


def test_most_of_the_fall_within_the_first_steps_is_learning() -> None:
    """A contrastive loss near its floor after ten steps, far below what a constant costs."""
    losses = 1.55 + 0.4 * np.exp(-np.arange(400) / 6) + 0.05 * np.exp(-np.arange(400) / 100)
    assert progress(level(400, 1.0, 0.001) * losses, CLASSES).state is State.LEARNING
    # The same fall to the level of guessing is none.
    assert progress(level(400, 1.0, 0.001) * (losses + 0.7), CLASSES).state is State.STALLED


def test_a_start_below_guessing_that_stays_there_is_stalled() -> None:
    assert progress(level(400, 1.6, 0.01), CLASSES).state is State.STALLED
