import math

import numpy as np
import pytest

from telemetry.compare.statistics.intervals import (
    combined_error,
    paired_difference,
    replicates_difference,
)


def test_equal_groups_use_the_interval_of_student() -> None:
    base, candidate = np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0])
    estimate = replicates_difference(base, candidate)
    assert estimate.df == 4
    low, high = estimate.interval()
    assert (low, high) == pytest.approx((3 - 2.77645 * math.sqrt(2 / 3), 3 + 2.26697), abs=1e-4)


def test_unequal_groups_use_the_degrees_of_freedom_of_welch() -> None:
    base = np.array([27.5, 21.0, 19.0, 23.6, 17.0, 17.9])
    candidate = np.array([27.1, 22.0, 20.8, 23.4, 23.4, 23.5, 25.8, 22.0])
    estimate = replicates_difference(base, candidate)
    variances = base.var(ddof=1) / 6, candidate.var(ddof=1) / 8
    assert estimate.standard_error == pytest.approx(math.sqrt(sum(variances)))
    expected = sum(variances) ** 2 / (variances[0] ** 2 / 5 + variances[1] ** 2 / 7)
    assert estimate.df == pytest.approx(expected)


def test_a_single_run_borrows_the_spread_of_the_group() -> None:
    estimate = replicates_difference(np.array([1.0, 2.0, 3.0]), np.array([4.0]))
    assert estimate.df == 2
    assert estimate.standard_error == pytest.approx(math.sqrt(1 / 3 + 1))


def test_equal_values_are_not_certain_when_the_metric_has_a_resolution() -> None:
    base, candidate = np.array([0.97, 0.97, 0.97]), np.array([0.96, 0.96, 0.96])
    assert replicates_difference(base, candidate).standard_error == pytest.approx(0, abs=1e-12)
    assert replicates_difference(base, candidate, error_floor=0.005).interval()[1] > 0


def test_seeds_that_make_runs_alike_are_compared_pair_by_pair() -> None:
    base = np.array([1.0, 2.0, 4.0, 7.0])
    estimate = paired_difference(base, base + np.array([0.1, 0.2, 0.1, 0.2]))
    assert estimate.paired
    assert estimate.df == 3
    assert estimate.standard_error == pytest.approx(np.sqrt(1 / 300) / 2)
    assert estimate.difference == pytest.approx(0.15)


def test_seeds_that_do_not_make_runs_alike_are_compared_as_groups() -> None:
    base, candidate = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 1.0, 3.0])
    assert paired_difference(base, candidate) == replicates_difference(base, candidate)
    constant = np.array([1.0, 1.0, 1.0])
    assert not paired_difference(constant, constant).paired
    assert not paired_difference(base[:2], base[:2] + 0.1).paired


def test_pairing_by_chance_costs_few_false_claims() -> None:
    generator = np.random.default_rng(20260102)
    groups = generator.standard_normal((2_000, 2, 4))
    estimates = [paired_difference(base, candidate) for base, candidate in groups]
    assert np.mean([estimate.p_not_above(0.0) <= 0.04 for estimate in estimates]) <= 0.055


def test_a_known_error_adds_to_a_measured_one_and_to_its_degrees_of_freedom() -> None:
    total, df = combined_error(3.0, 4.0, 4.0)
    assert total == 5.0
    assert df == pytest.approx(4 * (5 / 3) ** 4)
    assert combined_error(0.0, 4.0, 2.0) == (2.0, math.inf)
