"""Tests of a group of examples against the rest."""

import math

import numpy as np
import numpy.typing as npt
import pytest

from telemetry.evaluate.slicing.judged import Changes, Errors, Judged, Losses

Mask = npt.NDArray[np.bool_]


def p_of(judged: Judged, inside: Mask) -> float:
    return math.exp(judged.log_p(int(inside.sum()), judged.totals[inside].sum(axis=0).tolist()))


def test_losses_are_ranked_as_scipy_ranks_them() -> None:
    inside = np.array([(i * 7) % 12 < 3 for i in range(120)])
    values = np.round(np.array([(i * 37 % 101) / 10 for i in range(120)]) + 1.5 * inside)
    # scipy.stats.mannwhitneyu(alternative="greater", method="asymptotic"), many ties
    assert p_of(Losses(values), inside) == pytest.approx(0.0028556272333102777, rel=1e-10)


def test_errors_are_counted_exactly() -> None:
    wrong = np.array([1.0] * 4 + [0.0] * 16)
    inside = np.arange(20) < 5  # all four errors among five: C(16, 1) / C(20, 5)
    assert p_of(Errors(wrong), inside) == pytest.approx(16 / 15504)
    assert p_of(Errors(wrong), ~inside) == 1.0


def test_a_group_no_worse_than_all_is_certain() -> None:
    same = Losses(np.ones(30))
    assert p_of(same, np.arange(30) < 10) == 1.0
    assert p_of(same, np.ones(30, dtype=np.bool_)) == 1.0


@pytest.mark.parametrize(
    ("value", "rest", "matters"), [(0.12, 0.1, False), (0.126, 0.1, True), (0.1, 0.0, True)]
)
def test_a_quarter_more_is_worth_a_name(value: float, rest: float, *, matters: bool) -> None:
    assert Errors(np.zeros(2)).matters(value, rest) is matters


def test_a_change_must_be_worse_than_before_and_than_elsewhere() -> None:
    inside = np.arange(200) < 50
    everywhere = np.where(np.arange(200) % 5 == 0, 1.0, 0.0)
    better_elsewhere = np.where(inside, 0.0, np.where(np.arange(200) % 2 == 0, -1.0, 0.0))
    here = np.where(inside & (np.arange(200) % 2 == 0), 1.0, 0.0)
    assert p_of(Changes(everywhere), inside) > 0.3
    assert p_of(Changes(better_elsewhere), inside) == 1.0
    assert p_of(Changes(here), inside) < 1e-6
    assert not Changes(here).matters(-0.1, -0.3)


def test_the_interval_of_a_difference_of_shares_is_normal() -> None:
    generator = np.random.default_rng(0)
    inside = np.arange(2_000) < 400
    wrong = (generator.random(2_000) < np.where(inside, 0.3, 0.1)).astype(np.float64)
    low, high = Errors(wrong).interval(inside)
    p, q = wrong[inside].mean(), wrong[~inside].mean()
    error = math.sqrt(p * (1 - p) / 400 + q * (1 - q) / 1_600)
    assert (low + high) / 2 == pytest.approx(p - q, abs=0.2 * error)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)


def test_means_of_many_losses_are_resampled_alike() -> None:
    values = np.random.default_rng(1).gamma(2.0, size=50_000)
    inside = np.arange(50_000) < 5_000
    low, high = Losses(values).interval(inside)
    error = math.sqrt(2 / 5_000 + 2 / 45_000)
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.1)
