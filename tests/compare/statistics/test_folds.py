"""The corrected error of a cross-validation."""

import math

import numpy as np
import pytest

from telemetry.compare.statistics.folds import fold_estimate


def test_the_error_counts_the_shared_training_data() -> None:
    differences = np.array([0.01, 0.03, 0.02, 0.04, 0.00])  # variance 0.00025

    estimate = fold_estimate(differences, n_train=80, n_test=20)

    assert estimate.difference == pytest.approx(0.02)
    assert estimate.standard_error == pytest.approx(math.sqrt((1 / 5 + 1 / 4) * 0.00025))
    assert estimate.df == 4
    low, high = estimate.interval()
    assert high - 0.02 == pytest.approx(2.776445 * estimate.standard_error, rel=1e-6)
    assert 0.02 - low == pytest.approx(high - 0.02)


def test_equal_learners_seldom_differ() -> None:
    """Two learners that predict by the mean of random halves of their training set."""
    generator = np.random.default_rng(0)
    rejected = naive = 0
    for _ in range(400):
        outcomes = generator.normal(size=60)
        differences = []
        for _ in range(2):
            order = generator.permutation(60)
            for fold in range(5):
                test = order[fold * 12 : fold * 12 + 12]
                train = np.setdiff1d(order, test)
                errors = [
                    np.mean((outcomes[test] - outcomes[half].mean()) ** 2)
                    for half in np.split(generator.permutation(train), 2)
                ]
                differences.append(errors[0] - errors[1])
        estimate = fold_estimate(np.array(differences), n_train=48, n_test=12)
        low, high = estimate.interval()
        rejected += not low <= 0 <= high
        error = np.std(differences, ddof=1) / math.sqrt(10)
        naive += abs(np.mean(differences)) > 2.262 * error

    assert rejected <= 0.07 * 400
    assert naive > rejected
