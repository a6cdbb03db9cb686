import numpy as np
import numpy.typing as npt
import pytest

from telemetry.compare.statistics.bootstrap import (
    RESAMPLES,
    block_length,
    bootstrap_error,
    mean_error,
    stationary_indices,
    thin,
)


def autoregressive(n: int, memory: float, seed: int) -> npt.NDArray[np.float64]:
    noise = np.random.default_rng(seed).standard_normal(n + 200)
    series = np.zeros(n + 200)
    for i in range(1, n + 200):
        series[i] = memory * series[i - 1] + noise[i]
    return series[200:]


def test_correlated_points_need_longer_blocks_than_independent_ones() -> None:
    independent = np.median([block_length(autoregressive(400, 0.0, i)) for i in range(20)])
    correlated = np.median([block_length(autoregressive(400, 0.9, i)) for i in range(20)])
    assert independent < 4
    assert correlated > 4 * independent


def test_blocks_have_the_asked_mean_length_and_wrap_around() -> None:
    indices = stationary_indices(50, 5.0, np.random.default_rng(0))
    assert indices.shape == (RESAMPLES, 50)
    follows = (indices[:, 1:] - indices[:, :-1]) % 50 == 1
    assert 1 / (1 - follows.mean()) == pytest.approx(5.0, rel=0.15)
    assert set(np.unique(indices)) == set(range(50))


@pytest.mark.parametrize("memory", [0.0, 0.6])
def test_the_error_is_that_of_repeated_sampling(memory: float) -> None:
    pairs = [
        (autoregressive(200, memory, i), autoregressive(200, memory, 999 + i)) for i in range(40)
    ]
    true = np.std([np.median(b) - np.median(a) for a, b in pairs])
    estimated = np.mean([bootstrap_error(a, b)[0] for a, b in pairs])
    assert estimated == pytest.approx(true, rel=0.35)


def test_the_same_series_give_the_same_error() -> None:
    base, candidate = autoregressive(100, 0.5, 1), autoregressive(100, 0.5, 2)
    assert bootstrap_error(base, candidate) == bootstrap_error(base, candidate)


def test_noise_that_both_curves_share_cancels() -> None:
    shared = autoregressive(200, 0.5, 3)
    own = 0.01 * autoregressive(200, 0.0, 4)
    assert bootstrap_error(shared, shared + 1.0)[0] == pytest.approx(0.0, abs=1e-12)
    assert bootstrap_error(shared, shared + own)[0] < 0.2 * bootstrap_error(shared, 0 * own)[0]


def test_long_windows_are_thinned_without_changing_the_scale_of_the_error() -> None:
    base, candidate = autoregressive(4_000, 0.3, 5), autoregressive(4_000, 0.3, 6)
    error, block = bootstrap_error(base, candidate)
    assert 0.02 < error < 0.12
    assert block >= 8


def test_thinning_averages_neighbours_and_keeps_the_newest() -> None:
    assert thin(np.arange(7.0), 3).tolist() == [2.0, 5.0]
    assert thin(np.arange(3.0), 1).tolist() == [0.0, 1.0, 2.0]


def test_constant_and_tiny_series_have_blocks_of_one() -> None:
    assert block_length(np.ones(50)) == 1.0
    assert block_length(np.array([1.0, 2.0, 4.0])) == 1.0


@pytest.mark.parametrize("memory", [0.0, 0.6])
def test_the_error_of_a_mean_is_that_of_repeated_sampling(memory: float) -> None:
    series = [autoregressive(200, memory, i) for i in range(40)]
    true = np.std([one.mean() for one in series])
    assert np.mean([mean_error(one)[0] for one in series]) == pytest.approx(true, rel=0.35)
