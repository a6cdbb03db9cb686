import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from telemetry.compare.align import Series
from telemetry.compare.thinning import at_steps_of, thinned


def series(*steps: int) -> Series:
    return Series(steps=np.array(steps, dtype=np.int64), values=np.array(steps) / 10)


@given(n=st.integers(1, 300), most=st.integers(1, 40))
def test_a_thinned_curve_keeps_its_ends_and_invents_nothing(n: int, most: int) -> None:
    whole = series(*range(3, 3 + 2 * n, 2))
    few = thinned(whole, most)
    assert len(few) <= most + 1
    assert (few.steps[0], few.steps[-1]) == (whole.steps[0], whole.steps[-1])
    assert np.array_equal(few.values, few.steps / 10)
    assert thinned(whole, n) is whole


def test_curves_of_other_lengths_keep_common_steps() -> None:
    short, long = thinned(series(*range(1000)), 100), thinned(series(*range(2500)), 100)
    assert set(long.steps[long.steps < 1000].tolist()) <= set(short.steps.tolist())


def test_a_whole_curve_is_read_at_the_steps_of_thinned_ones() -> None:
    kept = [series(0, 4, 8), series(0, 4, 9)]
    assert at_steps_of(series(*range(20)), kept).steps.tolist() == [0, 4, 8, 9]
    assert at_steps_of(series(*range(5)), kept).steps.tolist() == [0, 4]


def test_a_curve_of_another_cadence_stays_whole() -> None:
    other = series(1, 3, 5, 7, 8)
    assert at_steps_of(other, [series(0, 2, 4, 6, 8)]) is other
