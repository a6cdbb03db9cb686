import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import RunBuilder

from telemetry.format.run_loss import MOST_STRETCHES, LossCurve, RunLoss
from telemetry.store.store import Store
from telemetry.store.summaries.summaries import loss_trends


def loss_of(values: list[float], first: int = 0) -> RunLoss:
    found = LossCurve.of(np.arange(first, first + len(values)), np.array(values)).loss()
    assert found is not None
    return found


def test_the_loss_of_a_run_is_the_mean_of_its_last_tenth_and_not_its_last_batch() -> None:
    rng = np.random.default_rng(0)
    batches = rng.exponential(0.9, size=2000)  # the mean of an epoch, and skewed
    batches[-1], batches[700] = 2.529, 0.001
    found = loss_of(batches.tolist())
    assert found.last == pytest.approx(batches[-200:].mean(), rel=1e-12)
    assert found.last == pytest.approx(0.9, abs=0.15)
    assert 0.6 < found.best < 0.9


def test_a_short_run_has_its_last_loss_and_its_lowest() -> None:
    assert loss_of([3.0, 1.0, 2.0]) == RunLoss(last=2.0, best=1.0, best_step=1)
    assert loss_of([5.0, 5.0], first=70) == RunLoss(last=5.0, best=5.0, best_step=70)
    assert LossCurve().loss() is None


def test_the_best_window_is_named_by_its_last_step() -> None:
    values = [2.0] * 100
    values[40:50] = [1.0] * 10
    assert loss_of(values, first=300) == RunLoss(last=2.0, best=1.0, best_step=349)


def test_a_run_that_ends_in_what_is_no_number_has_no_loss_but_a_best() -> None:
    found = loss_of([1.0] * 99 + [math.inf])
    assert (found.last, found.best) == (math.inf, 1.0)
    assert math.isnan(loss_of([1.0] * 30 + [math.nan, math.nan, math.nan, 1.0]).last)
    assert loss_of([1.0] * 97 + [math.nan, 1.0, 1.0]).last == 1.0
    found = loss_of([math.nan] * 40)
    assert math.isnan(found.last)
    assert math.isnan(found.best)
    assert found.best_step is None


def test_a_long_run_takes_as_much_memory_as_a_short_one() -> None:
    curve = LossCurve()
    for start in range(0, 100_000, 10_000):
        curve.add(np.arange(start, start + 10_000), np.full(10_000, float(start)))
    found = curve.loss()
    assert found is not None
    assert found.last == pytest.approx(90_000.0, abs=500.0)
    assert curve._sums.shape == (3, MOST_STRETCHES)


@settings(deadline=None, max_examples=40)
@given(
    size=st.integers(1, 3000),
    portion=st.integers(1, 700),
    first=st.integers(0, 10_000),
    every=st.integers(1, 3),
)
def test_losses_in_any_portions_give_the_same(
    size: int, portion: int, first: int, every: int
) -> None:
    steps = first + every * np.arange(size)
    values = np.cos(steps * 0.7) + 3.0
    parts = LossCurve()
    for start in range(0, size, portion):
        parts.add(steps[start : start + portion], values[start : start + portion])
    found, whole = parts.loss(), LossCurve.of(steps, values).loss()
    assert found is not None
    assert whole is not None
    assert found.best_step == whole.best_step
    assert (found.last, found.best) == pytest.approx((whole.last, whole.best), rel=1e-12)


def test_the_trend_of_a_curve_is_what_the_tables_give(tmp_path: Path) -> None:
    losses = [2.0 / (step + 1) for step in range(500)]
    losses[130] = math.nan
    RunBuilder(store=tmp_path).losses(losses).write()
    store = Store.open(tmp_path)
    with store.session(store.runs()) as session:
        (expected,) = loss_trends(session).values()
    curve = LossCurve()
    for start in range(0, 500, 70):  # in portions, as they are written
        part = np.arange(start, min(start + 70, 500))
        curve.add(part, np.array(losses)[part])
    assert curve.trend(500) == pytest.approx(list(expected), nan_ok=True)
