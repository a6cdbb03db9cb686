"""Tails against values of R 4 and scipy 1.16 (hypergeom.sf, binom.cdf, fisher_exact)."""

import math
from fractions import Fraction

import pytest

from telemetry.evaluate.statistics.exact import fisher_p, hypergeometric_log_p, sign_test_log_p


@pytest.mark.parametrize(
    ("against", "in_favour", "expected"),
    [(0, 5, 1 / 32), (5, 0, 1.0), (4, 4, 163 / 256), (3, 10, 378 / 8192), (10, 3, 8100 / 8192)],
)
def test_the_sign_test_counts_the_ways(against: int, in_favour: int, expected: float) -> None:
    assert math.exp(sign_test_log_p(against, in_favour)) == pytest.approx(expected, rel=1e-12)


def by_hand(hits: int, drawn: int, marked: int, total: int) -> float:
    ways = sum(
        math.comb(marked, i) * math.comb(total - marked, drawn - i)
        for i in range(hits, min(drawn, marked) + 1)
    )
    return float(Fraction(ways, math.comb(total, drawn)))


@pytest.mark.parametrize(
    ("hits", "drawn", "marked", "total"),
    [(5, 10, 20, 100), (1, 10, 20, 100), (2, 10, 20, 100), (9, 50, 60, 70), (444, 455, 570, 701)],
)
def test_the_hypergeometric_tail_is_that_of_whole_numbers(
    hits: int, drawn: int, marked: int, total: int
) -> None:
    found = hypergeometric_log_p(hits, drawn=drawn, marked=marked, total=total)
    assert math.exp(found) == pytest.approx(by_hand(hits, drawn, marked, total), rel=1e-10)


def test_a_certain_and_an_impossible_count() -> None:
    assert hypergeometric_log_p(0, drawn=5, marked=5, total=50) == 0
    assert hypergeometric_log_p(6, drawn=5, marked=8, total=50) == -math.inf
    assert hypergeometric_log_p(3, drawn=8, marked=45, total=50) == 0  # three cannot be missed


def test_tails_beyond_the_smallest_number_keep_their_order() -> None:
    logs = [
        hypergeometric_log_p(k, drawn=100_000, marked=100_000, total=1_000_000)
        for k in (10_000, 12_000, 15_000, 20_000)
    ]
    assert logs == sorted(logs, reverse=True)
    assert logs[-1] < logs[-2] < -750  # exp() of it would be 0


@pytest.mark.parametrize(
    ("table", "expected"),
    [((8, 2, 1, 5), 0.03496503496503495), ((10, 10, 12, 8), 0.7511863074565731)],
)
def test_fisher_agrees_with_r(table: tuple[int, int, int, int], expected: float) -> None:
    assert fisher_p(*table) == pytest.approx(expected, rel=1e-10)
