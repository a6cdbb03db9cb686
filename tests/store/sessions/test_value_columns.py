"""Metrics and settings are columns of the view `runs`."""

from pathlib import Path

import pytest
from synthetic import RunBuilder

from telemetry.errors import UsageError
from telemetry.json_values import Json
from telemetry.store.store import Store
from telemetry.store.user_sql.query import describe_views, query_runs


def rows(store: Path, statement: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = query_runs(Store.open(store), statement).arrow.to_pylist()
    return found


def write(store: Path, place: int, config: dict[str, Json], **metrics: float) -> None:
    builder = RunBuilder(
        store, run=f"20260102-03040{place}-aaaaaa", name=f"run{place}", config=config
    )
    for name, value in metrics.items():
        builder.metric(name, {1: value})
    builder.losses([2.0, 2.0]).write()


def test_a_metric_has_its_last_value_and_a_setting_its_own_type(tmp_path: Path) -> None:
    write(tmp_path, 1, {"lr": 0.1, "layers": 3, "amp": True, "net.kind": "mlp"}, val_loss=0.5)
    write(tmp_path, 2, {"lr": 1, "layers": 4, "amp": False, "net.kind": "cnn"}, val_loss=0.25)
    write(tmp_path, 3, {})
    found = rows(
        tmp_path,
        'select name, val_loss, loss, lr, layers, amp, "net.kind" as kind from runs order by name',
    )
    assert found == [
        _row("run1", 0.5, 0.1, 3, amp=True, kind="mlp"),
        _row("run2", 0.25, 1.0, 4, amp=False, kind="cnn"),
        _row("run3", None, None, None, amp=None, kind=None),
    ]
    types = rows(tmp_path, "select typeof(lr) as lr, typeof(layers) as layers from runs limit 1")
    assert types == [{"lr": "DOUBLE", "layers": "BIGINT"}]


def _row(
    name: str,
    val_loss: float | None,
    lr: float | None,
    layers: int | None,
    *,
    amp: bool | None,
    kind: str | None,
) -> dict[str, object]:
    return {
        "name": name,
        "val_loss": val_loss,
        "loss": 2.0,
        "lr": lr,
        "layers": layers,
        "amp": amp,
        "kind": kind,
    }


def test_values_of_several_types_are_texts(tmp_path: Path) -> None:
    write(tmp_path, 1, {"seed": 1})
    write(tmp_path, 2, {"seed": "two"})
    write(tmp_path, 3, {"seed": [3]})
    found = rows(tmp_path, "select seed from runs order by name")
    assert [row["seed"] for row in found] == ["1", "two", "[3]"]


def test_a_column_of_the_view_wins_over_a_metric_and_a_metric_over_a_setting(
    tmp_path: Path,
) -> None:
    write(tmp_path, 1, {"steps": 7, "val_loss": 9, "LOSS": 8}, val_loss=0.5)
    assert rows(tmp_path, "select steps, val_loss, loss from runs") == [
        {"steps": 2, "val_loss": 0.5, "loss": 2.0}
    ]


def test_a_column_that_no_run_has_is_an_error_that_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, 1, {}, val_loss=0.5)
    with pytest.raises(UsageError, match="val_loss"):
        rows(tmp_path, "select val_los from runs")


def test_the_description_of_the_view_has_the_columns_of_this_store(tmp_path: Path) -> None:
    write(tmp_path, 1, {"lr": 0.1}, val_loss=0.5)
    described = [c for c in describe_views(Store.open(tmp_path)) if c.view == "runs"]
    assert [(c.column, c.type) for c in described][-3:] == [
        ("loss", "DOUBLE"),
        ("val_loss", "DOUBLE"),
        ("lr", "DOUBLE"),
    ]
