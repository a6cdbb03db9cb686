import math
from pathlib import Path

import pytest
import sqlglot
from example_store import build_store, trained
from sqlglot.errors import ErrorLevel
from synthetic import RunBuilder

from telemetry.errors import Inconclusive, UsageError
from telemetry.store.sessions import run_losses, run_metrics
from telemetry.store.store import Store
from telemetry.store.summaries import layer_table, summaries
from telemetry.store.summaries.layer_table import LayerRow, Window
from telemetry.store.summaries.summaries import Curve, Curves

STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": text
    for module in (summaries, layer_table, run_losses, run_metrics)
    for name, text in vars(module).items()
    if name.endswith("_SQL")
}


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(build_store(tmp_path / "runs"))


def curves(store: Store, name: str) -> Curves:
    run = store.select(name)
    with store.session([run]) as session:
        return summaries.run_curves(session, run)


def curve(found: Curves, name: str) -> Curve:
    return next(entry for entry in found.curves if entry.name == name)


@pytest.mark.parametrize("name", sorted(STATEMENTS))
def test_every_statement_is_in_the_portable_subset(name: str) -> None:
    (spark,) = sqlglot.transpile(
        STATEMENTS[name], read="duckdb", write="spark", unsupported_level=ErrorLevel.RAISE
    )
    assert spark
    assert "*" not in STATEMENTS[name].replace("COUNT(*)", "").replace("AS DOUBLE) *", "")


def test_curves_hold_what_was_recorded(store: Store) -> None:
    found = curves(store, "broken")
    loss = curve(found, "loss")
    assert loss.values.size == 70
    assert math.isnan(loss.last)
    assert loss.best is not None
    assert loss.best[1] == 59
    accuracy = curve(found, "val_accuracy")
    assert accuracy.higher_is_better
    assert accuracy.phase == "eval"
    assert accuracy.best == (accuracy.last, 60)
    assert curve(found, "grad_norm").steps.tolist() == [0, 20, 40, 60]


def test_the_time_of_a_run_is_split(store: Store) -> None:
    timing = curves(store, "base").timing
    assert timing.elapsed_s == pytest.approx(2.0)
    assert timing.data_share == pytest.approx(0.1, rel=1e-4)
    assert timing.overhead_share == pytest.approx(0.002, rel=1e-4)
    assert math.isnan(timing.clipped_share)


def test_a_run_without_a_step_has_no_curve(store: Store) -> None:
    found = curves(store, "nothing")
    assert found.curves == ()
    assert math.isnan(found.timing.elapsed_s)


def test_a_metric_that_was_never_finite_has_no_best(tmp_path: Path) -> None:
    builder = RunBuilder(store=tmp_path).losses([math.nan, math.inf])
    builder.write()
    found = curves(Store.open(tmp_path), "base")
    assert curve(found, "loss").best is None


def test_values_of_ranks_are_averaged(tmp_path: Path) -> None:
    for rank, loss in ((0, 1.0), (1, 3.0)):
        RunBuilder(store=tmp_path, rank=rank).losses([loss]).write()
    found = curves(Store.open(tmp_path), "base")
    assert curve(found, "loss").values.tolist() == [2.0]


def test_a_description_is_that_of_the_last_attempt(tmp_path: Path) -> None:
    first = RunBuilder(store=tmp_path).losses([1.0])
    first.event("attach", model="Old").event("cadence", after=5).write()
    second = RunBuilder(store=tmp_path, attempt=2).losses([1.0, 0.5])
    second.event("attach", model="New").event("cadence", after=2)
    second.write()
    store = Store.open(tmp_path)
    run = store.select("latest")
    with store.session([run]) as session:
        found = summaries.run_description(session, run)
    assert found.model == {"model": "New"}
    assert found.cadence == 2
    assert found.optimizers == ()


@pytest.mark.parametrize("payload", ["not json", "[1, 2]", ""])
def test_an_event_with_a_strange_payload_describes_nothing(payload: str, tmp_path: Path) -> None:
    builder = RunBuilder(store=tmp_path).losses([1.0]).event("attach")
    builder.rows["events"][0]["payload"] = payload
    builder.write()
    store = Store.open(tmp_path)
    run = store.select("latest")
    with store.session([run]) as session:
        assert summaries.run_description(session, run).model == {}


def test_a_footprint_counts_rows_samples_and_bytes(store: Store) -> None:
    run = store.select("base")
    with store.session([run]) as session:
        found = summaries.footprint(session, run)
    assert (found.n_samples, found.n_tensor_rows) == (10, 10 * 6 * 3)
    sizes = [path.stat().st_size for path in run.ref.path.rglob("*.parquet")]
    assert found.n_bytes == sum(sizes)
    assert found.bytes_per_tensor_row == found.n_tensor_bytes / 180


def test_an_empty_run_has_no_bytes_per_row(store: Store) -> None:
    run = store.select("nothing")
    with store.session([run]) as session:
        assert summaries.footprint(session, run).bytes_per_tensor_row is None


def test_trends_of_many_runs_come_together(store: Store) -> None:
    runs = store.runs()
    with store.session(runs) as session:
        trends = {run.name: summaries.loss_trends(session).get(run.run) for run in runs}
    base = trends["base"]
    assert base is not None
    assert len(base) == summaries.TREND_POINTS
    assert list(base) == sorted(base, reverse=True)
    assert trends["nothing"] is None
    broken = trends["broken"]
    assert broken is not None
    assert all(math.isfinite(value or 0) for value in broken[:-2])
    assert all(math.isnan(value or 0) for value in broken[-2:])


def test_a_short_run_has_a_point_a_step(tmp_path: Path) -> None:
    RunBuilder(store=tmp_path).losses([3.0, 2.0, math.inf]).write()
    store = Store.open(tmp_path)
    with store.session(store.runs()) as session:
        (trend,) = summaries.loss_trends(session).values()
    assert trend == (3.0, 2.0, math.inf)


def rows(store: Store, name: str, shown: Window, *, quantiles: bool = False) -> list[LayerRow]:
    run = store.select(name)
    with store.session([run]) as session:
        return layer_table.layer_rows(session, run, shown=shown, trend=shown, quantiles=quantiles)


def test_layers_come_in_order_of_execution(store: Store) -> None:
    found = rows(store, "base", Window(first=0, last=0))
    assert [row.parameter for row in found] == [
        f"net.{index}.{part}" for index in (0, 2, 4) for part in ("bias", "weight")
    ]
    assert [row.depth for row in found] == [1, 1, 2, 2, 3, 3]
    assert {row.n for row in found} == {32, 2048, 1024, 10, 320}
    assert [row.dead_share for row in found] == [0.0] * 6


def test_a_window_takes_medians(store: Store) -> None:
    middle = rows(store, "base", Window(first=40, last=40))[1]
    window = rows(store, "base", Window(first=20, last=60))[1]
    assert window.grad_norm == pytest.approx(middle.grad_norm, rel=1e-6)
    assert len(window.trend) == 3
    assert window.trend[0] is not None
    assert window.trend[2] is not None
    assert window.trend[0] > window.trend[2]


def test_one_broken_sample_shows_in_the_trend(tmp_path: Path) -> None:
    builder = trained(tmp_path, "base", hours=0)
    row = next(r for r in builder.rows["tensor_stats"] if r["step"] == 100 and r["n"] == 2048)
    row["sumsq"] = math.nan
    row["n_nan"] = 3
    builder.write()
    found = rows(Store.open(tmp_path), "base", Window(first=0, last=180))[1]
    assert any(value is not None and math.isnan(value) for value in found.trend)
    assert found.nonfinite == 3


def test_quantiles_are_those_of_the_last_step(store: Store) -> None:
    found = rows(store, "base", Window(first=0, last=180), quantiles=True)[1]
    assert set(found.quantiles) == {"gradient", "weight"}
    assert set(found.quantiles["weight"]) == set(layer_table.QUANTILES)
    assert rows(store, "base", Window(first=0, last=180))[1].quantiles == {}


def test_steps_are_found_or_refused(store: Store) -> None:
    run = store.select("base")
    with store.session([run]) as session:
        steps = layer_table.sampled_steps(session, run)
    assert steps.tolist() == list(range(0, 200, 20))
    assert layer_table.nearest_step(steps, 70) == 60
    assert layer_table.exact_step(steps, 80) == 80
    with pytest.raises(UsageError, match="nearest sampled step is 80"):
        layer_table.exact_step(steps, 81)


def test_a_run_without_samples_has_no_layers(store: Store) -> None:
    run = store.select("nothing")
    with store.session([run]) as session, pytest.raises(Inconclusive, match="no sampled step"):
        layer_table.sampled_steps(session, run)
