import math
from statistics import NormalDist

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.compare.statistics.student import t_cdf, t_quantile


@pytest.mark.parametrize(
    ("p", "df", "expected"),
    [  # tables of the t distribution
        (0.975, 1, 12.7062),
        (0.975, 2, 4.30265),
        (0.975, 4, 2.77645),
        (0.995, 4, 4.60409),
        (0.975, 30, 2.04227),
        (0.95, 10, 1.81246),
        (0.9995, 3, 12.9240),
        (0.025, 4, -2.77645),
        (0.5, 7, 0.0),
    ],
)
def test_quantiles_agree_with_the_tables(p: float, df: float, expected: float) -> None:
    assert t_quantile(p, df) == pytest.approx(expected, rel=1e-5, abs=1e-9)


def test_one_degree_of_freedom_is_the_cauchy_distribution() -> None:
    for t in (-8.0, -1.0, 0.3, 5.0):
        assert t_cdf(t, 1) == pytest.approx(0.5 + math.atan(t) / math.pi, abs=1e-12)


def test_infinite_degrees_of_freedom_are_the_normal_distribution() -> None:
    assert t_quantile(0.975, math.inf) == pytest.approx(NormalDist().inv_cdf(0.975))
    assert t_cdf(1.2, math.inf) == pytest.approx(NormalDist().cdf(1.2))
    assert t_cdf(math.inf, 3) == 1.0


@settings(deadline=None, max_examples=60)
@given(p=st.floats(0.001, 0.999), df=st.floats(0.5, 1e6))
def test_quantile_and_distribution_invert_each_other(p: float, df: float) -> None:
    assert t_cdf(t_quantile(p, df), df) == pytest.approx(p, abs=1e-9)
