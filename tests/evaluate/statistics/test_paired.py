"""Paired tests against values of scipy 1.16 and tables."""

import math

import numpy as np
import pytest

from telemetry.evaluate.statistics.paired import (
    benjamini_hochberg,
    bootstrap_interval,
    detectable_excess,
    discordant_needed,
    foreseeable_drop,
    mcnemar_p,
    ranks,
    seed_detectable,
    seed_p,
    seed_spread,
    wilcoxon_p,
)


@pytest.mark.parametrize(
    ("base_only", "cand_only", "expected", "mid"),
    [
        (0, 0, 1.0, 1.0),
        (5, 0, 0.0625, 0.03125),
        (0, 6, 0.03125, 0.015625),
        (7, 3, 0.34375, 0.2265625),
        (10, 10, 1.0, 1.0),
        (171, 9, 6.141156138401083e-40, 3.2302307952465e-40),
    ],
)
def test_mcnemar_is_exact(base_only: int, cand_only: int, expected: float, mid: float) -> None:
    assert mcnemar_p(base_only, cand_only) == pytest.approx(expected, rel=1e-10)
    assert mcnemar_p(base_only, cand_only, mid_p=True) == pytest.approx(mid, rel=1e-10)


def test_fewer_than_six_examples_can_never_be_significant() -> None:
    assert discordant_needed(0.05) == 6
    assert mcnemar_p(5, 0) > 0.05 > mcnemar_p(6, 0)


def test_the_detectable_excess_is_the_first_that_the_test_sees() -> None:
    for n in (6, 20, 101):
        excess = detectable_excess(n, 0.05)
        against = (n - excess) // 2
        assert mcnemar_p(n - against, against) <= 0.05 < mcnemar_p(n - against - 1, against + 1)
    assert detectable_excess(0, 0.05) == 6


def test_benjamini_hochberg_agrees_with_r() -> None:
    assert benjamini_hochberg([0.01, 0.02, 0.03, 0.5, 0.04]) == pytest.approx(
        [0.05, 0.05, 0.05, 0.5, 0.05]
    )
    assert benjamini_hochberg([0.001, 0.2, 0.3]) == pytest.approx([0.003, 0.3, 0.3])
    assert benjamini_hochberg([]) == []


def test_equal_values_share_their_rank() -> None:
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_wilcoxon_is_exact_for_few_pairs() -> None:
    # Siegel and Castellan, 1988: smaller rank sum 3 of 8 pairs; 5 of 256 sign patterns reach it.
    few = np.array([1.0, -2.0, 3, 4, 5, 6, 7, 8])
    assert wilcoxon_p(few) == pytest.approx(2 * 3 / 256)
    assert wilcoxon_p(np.array([0.0, 0.0])) == 1.0
    assert wilcoxon_p(np.array([1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0])) == pytest.approx(2 / 64)


def test_wilcoxon_of_many_pairs_is_that_of_scipy() -> None:
    values = np.array([(i * 37 % 101) - 40.0 for i in range(100)])  # 40 ties, one zero
    assert wilcoxon_p(values) == pytest.approx(0.0023510726628147805, rel=1e-9)


def test_the_interval_of_a_share_is_that_of_its_standard_error() -> None:
    values = np.array([1.0] * 9 + [-1.0] * 171 + [0.0] * 717)
    low, high = bootstrap_interval(values)
    error = float(np.std(values)) / math.sqrt(len(values))
    assert (high - low) / 2 == pytest.approx(1.96 * error, rel=0.05)
    assert low < float(values.mean()) < high


def test_copies_of_one_original_do_not_narrow_the_interval() -> None:
    generator = np.random.default_rng(0)
    originals = generator.normal(size=200)
    copies = np.repeat(originals, 5)
    names = [f"{i:03d}" for i in range(200) for _ in range(5)]

    alone = bootstrap_interval(originals, resamples=2_000)
    together = bootstrap_interval(copies, names, resamples=2_000)
    naive = bootstrap_interval(copies, resamples=2_000)

    assert together == pytest.approx(alone)
    assert naive[1] - naive[0] < 0.6 * (alone[1] - alone[0])


def test_very_many_values_have_a_normal_interval() -> None:
    values = np.random.default_rng(1).normal(0.5, 1.0, 50_000)
    low, high = bootstrap_interval(values)
    assert (high - low) / 2 == pytest.approx(1.96 / math.sqrt(50_000), rel=0.02)


@pytest.mark.parametrize(("n_seeds", "needed"), [(3, 19.9), (4, 10.5), (6, 6.8), (10, 5.2)])
def test_the_price_of_few_seeds(n_seeds: int, needed: float) -> None:
    """A lone regression among ten hypotheses, in standard deviations of a seed."""
    assert seed_detectable(1.0, n_seeds, 0.05 / 10) == pytest.approx(needed, abs=0.06)
    assert seed_p(seed_detectable(1.0, n_seeds, 0.005), 1.0, n_seeds) == pytest.approx(0.005)


def test_seeds_that_agree_leave_half_an_example() -> None:
    assert seed_spread(np.array([0.5, 0.5, 0.5]), 0.01) == 0.005
    assert seed_spread(np.array([0.4, 0.5, 0.6]), 0.01) == pytest.approx(0.1)


def test_what_a_comparison_could_see_is_known_before_it() -> None:
    # 20 of 400 answers differ: 5 against 15 have p = 0.041, 6 against 14 p = 0.115
    assert foreseeable_drop(400, 0.05) == 10 / 400
    # 5 % of 20 are one answer; six in one direction are needed: p = 0.031
    assert foreseeable_drop(20, 0.05) == 6 / 20
    assert foreseeable_drop(20, 0.05 / 4) == 8 / 20  # four hypotheses: p = 0.0078
    assert math.isnan(foreseeable_drop(5, 0.05))
