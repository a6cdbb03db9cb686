import math

import numpy as np
from curve_makers import loss_curve

from telemetry.compare.curves.align import Series
from telemetry.compare.curves.trends import POINTS, Trend, trend


def series(values: dict[int, float]) -> Series:
    return Series(
        steps=np.array(list(values), dtype=np.int64), values=np.array(list(values.values()))
    )


def test_few_points_are_their_own_picture() -> None:
    found = trend([series({0: 4.0, 1: 2.0})], [series({0: 5.0, 1: 1.0})])
    assert found == Trend(first=0, last=1, base=(4.0, 2.0), candidate=(5.0, 1.0))


def test_long_curves_are_means_over_stretches_and_runs() -> None:
    base = [series({step: float(step + shift) for step in range(960)}) for shift in (0, 2)]
    found = trend(base, [series({0: 1.0})])
    assert len(found.base) == POINTS
    assert found.base[0] == 10.5  # 0..19 and 2..21
    assert found.candidate == (1.0, *[None] * (POINTS - 1))


def test_a_shorter_run_ends_and_a_sparser_one_is_joined_by_lines() -> None:
    base = series(dict.fromkeys(range(9), 1.0))
    found = trend([base], [series({0: 0.0, 4: 4.0})])
    assert found.candidate == (0.0, 1.0, 2.0, 3.0, 4.0, None, None, None, None)


def test_values_that_are_not_finite_are_seen() -> None:
    broken = series({0: 1.0, 1: math.nan, 2: math.inf, 3: 2.0})
    found = trend([broken], [broken])
    assert [str(value) for value in found.base] == ["1.0", "nan", "inf", "2.0"]
    halves = series({0: 1.0, 1: math.nan, 2: 3.0, 3: 3.0})
    assert trend([halves], [loss_curve(0, n=4)]).base[0] == 1.0


def test_nothing_gives_nothing() -> None:
    assert trend([], []).base == ()
    assert trend([], [series({3: 1.0})]).base == (None,)
