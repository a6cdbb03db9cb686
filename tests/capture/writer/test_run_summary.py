import math

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from telemetry.capture.writer.run_summary import METRICS_LIMIT, RunSummary, merged


def losses(values: dict[int, float | None]) -> pa.Table:
    return pa.table(
        {
            "step": pa.array(list(values), pa.int64()),
            "loss": pa.array(list(values.values()), pa.float64()),
        }
    )


def metrics(rows: list[tuple[int, str, float | None]]) -> pa.Table:
    return pa.table(
        {
            "step": pa.array([row[0] for row in rows], pa.int64()),
            "name": pa.array([row[1] for row in rows], pa.string()),
            "value": pa.array([row[2] for row in rows], pa.float64()),
        }
    )


def test_the_loss_of_the_steps_is_a_metric() -> None:
    summary = RunSummary()
    summary.observe("steps", losses({0: 3.0, 1: 1.0, 2: 2.0}))
    assert summary.metrics == {"loss": {"last": 2.0, "best": 1.0, "best_step": 1}}
    assert summary.n_steps == 3


def test_each_metric_is_best_in_its_own_direction() -> None:
    summary = RunSummary()
    summary.observe(
        "metrics",
        metrics(
            [(0, "val_acc", 0.5), (0, "val_loss", 2.0), (5, "val_acc", 0.9), (9, "val_acc", 0.7)]
        ),
    )
    assert summary.metrics == {
        "val_acc": {"last": 0.7, "best": 0.9, "best_step": 5},
        "val_loss": {"last": 2.0, "best": 2.0, "best_step": 0},
    }
    assert summary.n_steps == 0


def test_what_was_not_logged_is_no_value() -> None:
    summary = RunSummary()
    summary.observe("steps", losses({0: None, 1: None}))
    summary.observe("metrics", metrics([(0, "a", None)]))
    assert summary.metrics == {}
    assert summary.n_steps == 2


def test_a_value_that_is_no_number_is_last_but_never_best() -> None:
    summary = RunSummary()
    summary.observe("steps", losses({0: 1.0, 1: math.nan}))
    summary.observe("steps", losses({2: math.inf}))
    assert summary.metrics["loss"] == {"last": math.inf, "best": 1.0, "best_step": 0}


def test_a_metric_that_was_never_a_number_has_no_best() -> None:
    summary = RunSummary()
    summary.observe("steps", losses({0: math.nan}))
    entry = summary.metrics["loss"]
    assert np.isnan([entry["last"], entry["best"]]).all()
    assert entry["best_step"] is None
    summary.observe("steps", losses({1: 4.0}))
    assert summary.metrics["loss"] == {"last": 4.0, "best": 4.0, "best_step": 1}


def test_other_tables_and_empty_ones_say_nothing() -> None:
    summary = RunSummary()
    summary.observe("events", pa.table({"step": pa.array([1])}))
    summary.observe("steps", losses({}))
    summary.observe("metrics", metrics([]))
    assert (summary.metrics, summary.n_steps) == ({}, 0)


def test_thousands_of_names_do_not_fill_the_manifest() -> None:
    summary = RunSummary()
    rows = [(0, f"{'n' * 300}{i}", 1.0) for i in range(3)]
    summary.observe("metrics", metrics(rows))
    assert max(len(name) for name in summary.metrics) == 200
    summary.observe("metrics", metrics([(0, f"m{i}", 1.0) for i in range(2 * METRICS_LIMIT)]))
    assert len(summary.metrics) == METRICS_LIMIT


def test_merging_takes_the_better_best_and_the_later_last() -> None:
    earlier = {"last": 0.5, "best": 0.9, "best_step": 3}
    later = {"last": 0.7, "best": 0.8, "best_step": 9}
    assert merged("acc", earlier, later) == {"last": 0.7, "best": 0.9, "best_step": 3}
    assert merged("loss", earlier, later) == later
    assert merged("loss", {"last": "nan", "best": "nan", "best_step": None}, later) == later


VALUES = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=12)


@settings(deadline=None, max_examples=50)
@given(VALUES, st.integers(1, 4), st.sampled_from(["loss", "accuracy"]))
def test_flushes_in_any_portions_give_the_same_summary(
    values: list[float], size: int, name: str
) -> None:
    rows = [(step, name, value) for step, value in enumerate(values)]
    whole, parts = RunSummary(), RunSummary()
    whole.observe("metrics", metrics(rows))
    for start in range(0, len(rows), size):
        parts.observe("metrics", metrics(rows[start : start + size]))
    assert repr(parts.metrics) == repr(whole.metrics)
