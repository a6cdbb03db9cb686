import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from telemetry.diagnose.judgement.robust import (
    log2_positive,
    median,
    recent_medians,
    row_medians,
    slopes,
    step_noise,
    thinned,
    trend,
)

finite = st.floats(-1e6, 1e6, allow_subnormal=False)


def test_a_slope_survives_a_quarter_of_outliers() -> None:
    line = 3.0 * np.arange(16.0)
    line[[2, 7, 11, 14]] = [1e6, -1e6, 5e5, -5e5]
    assert slopes(line[None, :])[0] == pytest.approx(3.0, rel=0.1)


def test_a_slope_ignores_missing_positions() -> None:
    line = 2.0 * np.arange(10.0)
    line[[0, 5]] = np.nan
    assert slopes(line[None, :])[0] == pytest.approx(2.0)
    assert np.isnan(slopes(np.full((1, 6), np.nan))[0])
    assert np.isnan(slopes(np.zeros((1, 1)))[0])


def test_a_long_profile_has_the_slope_of_all_its_pairs() -> None:
    line = 0.5 * np.arange(150.0) + np.random.default_rng(0).standard_normal(150)
    assert slopes(line[None, :])[0] == pytest.approx(0.5, rel=0.05)


@settings(deadline=None)
@given(arrays(np.float64, 12, elements=finite), st.floats(-100, 100))
def test_adding_a_line_adds_its_slope(values: np.ndarray, slope: float) -> None:
    tilted = values + slope * np.arange(12)
    expected = slopes(values[None, :])[0] + slope
    assert slopes(tilted[None, :])[0] == pytest.approx(expected, abs=1e-6 * (1 + abs(expected)))


def test_the_noise_of_a_falling_curve_is_that_of_one_step() -> None:
    rng = np.random.default_rng(0)
    curve = np.linspace(10, 0, 4000) + 0.2 * rng.standard_normal(4000)
    assert step_noise(curve) == pytest.approx(0.2, rel=0.1)
    assert step_noise(np.array([1.0])) == 0.0


def test_a_trend_is_seen_and_noise_is_none() -> None:
    rng = np.random.default_rng(1)
    slope, z = trend(np.linspace(1, 0, 1000) + 0.1 * rng.standard_normal(1000))
    assert slope < 0
    assert z < -4
    assert abs(trend(rng.standard_normal(1000))[1]) < 3
    assert trend(np.array([1.0, 2.0])) == (0.0, 0.0)


def test_medians_leave_out_what_is_missing() -> None:
    assert median(np.array([np.nan, 3.0, 1.0, 2.0])) == 2.0
    assert np.isnan(median(np.array([np.nan])))
    assert np.isnan(row_medians(np.full((2, 3), np.nan))).all()
    assert row_medians(np.zeros((2, 0))).shape == (2,)


def test_logarithms_exist_for_positive_finite_values_only() -> None:
    found = log2_positive(np.array([8.0, 0.0, -1.0, np.inf, np.nan]))
    assert found[0] == 3.0
    assert np.isnan(found[1:]).all()


def test_recent_medians_are_those_of_the_window_before() -> None:
    values = np.array([1.0, 1.0, np.nan, 2.0, 3.0, 9.0])
    found = recent_medians(values, width=4, at_least=3, rise=2.0)
    assert found[5] == 2.0  # of 1, 2 and 3: the missing value is left out
    assert found[4] == 1.0
    assert np.isnan(found[:4]).all()  # nothing there stands out


def test_thinning_keeps_the_first_and_the_last() -> None:
    kept = thinned(1000, keep=50, head=10)
    assert list(kept[:10]) == list(range(10))
    assert kept[-1] == 999
    assert kept.size <= 50
    assert list(thinned(5, keep=50, head=10)) == [0, 1, 2, 3, 4]
