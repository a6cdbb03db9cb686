import json
import math
from pathlib import Path

import numpy as np
import pytest
from synthetic import RunBuilder

from telemetry.format.run_loss import LossCurve, RunLoss
from telemetry.store.sessions.run_losses import read_losses
from telemetry.store.store import Store
from telemetry.store.summaries.summaries import run_curves
from telemetry.store.user_sql.query import query_runs


def read(store: Store) -> RunLoss:
    run = store.select("base")
    with store.session([run]) as session:
        (found,) = read_losses(session).values()
        loss = next(curve for curve in run_curves(session, run).curves if curve.name == "loss")
    assert loss.best is not None
    assert (loss.last, *loss.best) == pytest.approx((found.last, found.best, found.best_step))
    assert run.metrics["loss"] == found.to_json()
    return found


@pytest.mark.parametrize("size", [5, 19, 20, 1024, 1025, 3000])
def test_the_tables_give_what_recording_gives(size: int, tmp_path: Path) -> None:
    losses = np.random.default_rng(size).exponential(1.0, size=size)
    RunBuilder(store=tmp_path).losses(losses.tolist()).write()
    expected = LossCurve.of(np.arange(size), losses).loss()
    found = read(Store.open(tmp_path))
    assert expected is not None
    assert found.best_step == expected.best_step
    assert (found.last, found.best) == pytest.approx((expected.last, expected.best), rel=1e-12)


def test_ranks_are_parts_of_one_batch(tmp_path: Path) -> None:
    for rank in range(2):
        RunBuilder(store=tmp_path, rank=rank).losses(
            [float(rank + 2 * i) for i in range(18)]
        ).write()
    assert read(Store.open(tmp_path)) == RunLoss(last=34.5, best=0.5, best_step=0)


def test_a_run_without_a_loss_keeps_what_was_logged(tmp_path: Path) -> None:
    builder = RunBuilder(store=tmp_path).metric("loss", {3: 2.0})
    builder.add("steps", step=3, flags=0).write()
    assert Store.open(tmp_path).select("base").metrics["loss"]["last"] == 2.0


def test_the_view_of_runs_has_the_loss_of_each(tmp_path: Path) -> None:
    RunBuilder(store=tmp_path).losses([1.0] * 99 + [math.nan]).write()
    store = Store.open(tmp_path)
    (text,) = query_runs(store, "SELECT metrics FROM runs").arrow.column("metrics").to_pylist()
    entry = json.loads(text)["loss"]
    assert (entry["last"], entry["best"]) == ("nan", 1.0)
