"""What `plot_runs` reads: curves that end at the numbers of the other screens."""

from pathlib import Path

import numpy as np
import pytest
from synthetic import RunBuilder

from telemetry.compare.plot.plot import MOST_RUNS, plot_runs
from telemetry.errors import Inconclusive, UsageError
from telemetry.format.run_loss import LossCurve, window_length
from telemetry.store.store import Store

LOSSES = (2 * np.exp(-np.arange(300) / 50) + 0.1 * np.sin(np.arange(300))).tolist()


def builder(store: Path, letter: str = "a") -> RunBuilder:
    return RunBuilder(store, run=f"20260102-030405-{letter * 6}", name=f"run-{letter}")


def test_the_smoothed_loss_ends_at_the_loss_of_the_run_and_its_lowest_point_is_the_best(
    tmp_path: Path,
) -> None:
    builder(tmp_path).losses(LOSSES).write()
    store = Store.open(tmp_path)
    (metric,) = plot_runs(store, store.runs()).metrics
    (curve,) = metric.curves
    expected = LossCurve.of(np.arange(300), np.array(LOSSES)).loss()
    assert expected is not None
    assert curve.is_smoothed
    assert curve.values[-1] == pytest.approx(expected.last, rel=1e-12)
    whole = curve.values[window_length(300) - 1 :]
    assert whole.min() == pytest.approx(expected.best, rel=1e-12)
    assert int(curve.steps[window_length(300) - 1 :][whole.argmin()]) == expected.best_step
    assert (curve.last, curve.best) == (expected.last, expected.best)


def test_a_loss_that_ends_in_nan_is_drawn_up_to_it(tmp_path: Path) -> None:
    builder(tmp_path).losses([*LOSSES, float("nan")]).write()
    store = Store.open(tmp_path)
    (metric,) = plot_runs(store, store.runs()).metrics
    assert np.isnan(metric.curves[0].values[-1])
    assert np.isfinite(metric.curves[0].values[:-1]).all()


def test_raw_values_are_those_that_were_recorded(tmp_path: Path) -> None:
    builder(tmp_path).losses(LOSSES).write()
    store = Store.open(tmp_path)
    (metric,) = plot_runs(store, store.runs(), smooth=False).metrics
    assert metric.curves[0].values.tolist() == LOSSES
    assert not metric.curves[0].is_smoothed


def test_what_was_evaluated_stands_beside_the_loss_and_is_not_smoothed(tmp_path: Path) -> None:
    for letter in "ab":
        made = builder(tmp_path, letter).losses(LOSSES)
        made.metric("train_accuracy", {0: 0.1, 1: 0.2}, phase="train")
        if letter == "a":
            made.metric("val_loss", {step: 2.0 - 0.01 * step for step in range(100)})
        made.write()
    store = Store.open(tmp_path)
    plot = plot_runs(store, store.runs())
    assert [(m.name, len(m.curves)) for m in plot.metrics] == [("loss", 2), ("val_loss", 1)]
    assert not plot.metrics[1].curves[0].is_smoothed
    named = plot_runs(store, store.runs(), metrics=["train_accuracy", "lr"])
    assert [metric.name for metric in named.metrics] == ["train_accuracy", "lr"]


def test_what_cannot_be_drawn_is_an_error_that_says_what_can(tmp_path: Path) -> None:
    builder(tmp_path).losses(LOSSES).write()
    builder(tmp_path, "b").write()
    store = Store.open(tmp_path)
    empty, full = sorted(store.runs(), key=lambda run: run.steps)
    with pytest.raises(UsageError, match="no run recorded the metric 'los'; did you mean loss"):
        plot_runs(store, [full], metrics=["los"])
    with pytest.raises(UsageError, match="no run was given"):
        plot_runs(store, [])
    with pytest.raises(Inconclusive, match="nothing to draw"):
        plot_runs(store, [empty])


def test_more_runs_than_can_be_told_apart_are_refused(tmp_path: Path) -> None:
    for letter in "abcdefghjkmnpqrstvwxy":
        builder(tmp_path, letter).losses([1.0]).write()
    store = Store.open(tmp_path)
    assert len(store.runs()) == MOST_RUNS + 1
    with pytest.raises(UsageError, match="choose at most 20"):
        plot_runs(store, store.runs())
