import math

import numpy as np
import pytest
from curve_makers import loss_curve
from hypothesis import given
from hypothesis import strategies as st

from telemetry.compare.curves.align import Series
from telemetry.compare.curves.thinning import averaged, averaged_as, picked


def series(values: dict[int, float]) -> Series:
    steps = np.array(list(values), dtype=np.int64)
    return Series(steps=steps, values=np.array(list(values.values())))


def line(*steps: int) -> Series:
    return series({step: step / 10 for step in steps})


@given(n=st.integers(1, 300), most=st.integers(1, 40))
def test_an_averaged_curve_keeps_its_end_and_its_mean(n: int, most: int) -> None:
    whole = line(*range(3, 3 + 2 * n, 2))
    few = averaged(whole, most)
    assert len(few) <= most
    assert few.steps[-1] == whole.steps[-1]
    weights = np.diff(np.searchsorted(whole.steps, few.steps, side="right"), prepend=0)
    assert math.isclose(np.average(few.values, weights=weights), np.mean(whole.values))
    assert averaged(whole, n) is whole


@given(n=st.integers(1, 300), most=st.integers(1, 40))
def test_picked_points_are_points_of_the_curve(n: int, most: int) -> None:
    few = picked(line(*range(n)), most)
    assert len(few) <= most + 1
    assert (few.steps[0], few.steps[-1]) == (0, n - 1)
    assert np.array_equal(few.values, few.steps / 10)


def test_curves_of_other_lengths_share_stretches() -> None:
    short, long = averaged(line(*range(1000)), 100), averaged(line(*range(2500)), 100)
    assert set(long.steps[long.steps < 1000].tolist()) <= set(short.steps.tolist())


@given(n=st.integers(2, 400), most=st.integers(1, 40))
def test_a_replay_averaged_alike_is_equal_to_the_last_bit(n: int, most: int) -> None:
    curve = loss_curve(0, n=n)
    kept = averaged(curve, most)
    again = averaged_as(curve, [kept])
    assert np.array_equal(again.steps, kept.steps)
    assert np.array_equal(again.values, kept.values)


def test_stretches_are_those_of_the_other_runs() -> None:
    kept = [series({3: 0.0, 7: 0.0}), series({3: 0.0, 9: 0.0})]
    found = averaged_as(line(*range(20)), kept)
    assert found.steps.tolist() == [3, 7, 9]
    assert found.values.tolist() == pytest.approx([0.15, 0.55, 0.85])
    shorter = averaged_as(line(*range(6)), kept)
    assert shorter.steps.tolist() == [3, 5]


def test_a_sparser_curve_stays_whole() -> None:
    sparse = line(1, 5, 9)
    assert averaged_as(sparse, [line(0, 1, 2, 3, 4, 5, 6, 7, 8, 9)]) is sparse


def test_a_stretch_of_which_most_is_not_finite_is_not_finite() -> None:
    broken = series({0: 1.0, 1: 3.0, 2: math.nan, 3: math.inf, 4: 5.0, 5: math.nan, 6: 1.0, 7: 1.0})
    values = averaged(broken, 2).values.tolist()
    assert math.isnan(values[0])
    assert values[1] == 7 / 3
