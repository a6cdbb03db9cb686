"""A run that nobody closed is shown by what is on the disk, not by a manifest that lags behind."""

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from command_line import Telemetry, validated
from rings import leave_ring
from synthetic import RunBuilder

from telemetry.format.manifest import Status, read_manifest, write_manifest
from telemetry.json_values import Json


def _entry(last: float, best: float, step: int) -> dict[str, Json]:
    return {"last": last, "best": best, "best_step": step}


@pytest.fixture
def killed(store: Path) -> Path:
    """Its last manifest was written after two steps."""
    metrics = {
        "loss": _entry(4.0, 4.0, 1),
        "val_accuracy": _entry(0.5, 0.5, 1),
        "both": _entry(1.0, 1.0, 1),
    }
    builder = RunBuilder(store, summary={"steps": 2, "loss_to": 1, "metrics": metrics}).losses(
        [5.0, 4.0, 3.0, 2.0]
    )
    builder.metric("val_accuracy", {1: 0.5, 2: 0.75, 3: 0.625})
    builder.metric("both", {1: 1.0, 3: float("nan")})
    return builder.write(status=Status.RUNNING)


EXPECTED = {
    "loss": (2.0, 2.0, 3),
    "val_accuracy": (0.625, 0.75, 2),
    "both": (None, 1.0, 1),
}


def _told(metrics: Mapping[str, Json]) -> dict[str, tuple[Json, ...]]:
    told = {}
    for name, entry in metrics.items():
        assert isinstance(entry, Mapping)
        told[name] = (_known(entry["last"]), entry["best"], entry["best_step"])
    return told


def _known(value: Json) -> Json:
    return None if value == "nan" or (isinstance(value, float) and math.isnan(value)) else value


@pytest.mark.usefixtures("killed")
def test_steps_loss_and_metrics_are_of_the_same_steps_everywhere(
    telemetry: Telemetry,
) -> None:
    (listed,) = validated("runs", telemetry("runs", "--json").out)["runs"]
    shown = validated("show", telemetry("show", "--json").out)
    statement = "SELECT steps, metrics FROM runs"
    ((steps, metrics),) = validated("query", telemetry("query", statement, "--json").out)["rows"]
    assert (listed["status"], listed["steps"], shown["run"]["steps"], steps) == ("killed", 4, 4, 4)
    for found in (listed["metrics"], shown["run"]["metrics"], json.loads(metrics)):
        assert _told(found) == EXPECTED
    curves = {entry["name"]: entry for entry in shown["metrics"]}
    for name, (last, *_) in EXPECTED.items():
        assert _known(curves[name]["last"]) == last


def test_the_loss_goes_as_far_as_the_ring(killed: Path, telemetry: Telemetry) -> None:
    leave_ring(killed, range(4, 6))
    (listed,) = validated("runs", telemetry("runs", "--json").out)["runs"]
    assert (listed["steps"], listed["metrics"]["loss"]["last"]) == (6, 105.0)
    shown = validated("show", telemetry("show", "--json").out)
    assert shown["lost_steps"] == []


def test_the_hole_before_the_ring_is_told(killed: Path, telemetry: Telemetry) -> None:
    leave_ring(killed, range(1_500, 1_504))
    shown = validated("show", telemetry("show", "--json").out)
    assert shown["run"]["steps"] == 1_504
    assert shown["lost_steps"] == [{"attempt": 1, "first": 4, "last": 1_499}]
    text = "4-1 499: not yet on disk when the process of attempt 1 ended"
    assert f"lost\t1496 steps, {text}" in telemetry("show").out


def test_what_a_later_attempt_repeated_is_not_lost(killed: Path, telemetry: Telemetry) -> None:
    leave_ring(killed, range(20, 24))
    leave_ring(killed, range(7, 9), attempt=2)
    shown = validated("show", telemetry("show", "--json").out)
    assert shown["lost_steps"] == [{"attempt": 1, "first": 4, "last": 6}]
    leave_ring(killed, range(4, 8), attempt=3)
    assert validated("show", telemetry("show", "--json").out)["lost_steps"] == []


def test_a_run_killed_before_its_first_shard_has_lost_what_the_ring_lacks(
    store: Path, telemetry: Telemetry
) -> None:
    run = RunBuilder(store).write(status=Status.RUNNING)
    write_manifest(run, replace(read_manifest(run), attempts=()))
    leave_ring(run, range(6, 10))
    shown = validated("show", telemetry("show", "--json").out)
    assert shown["lost_steps"] == [{"attempt": 1, "first": 0, "last": 5}]


def test_rows_that_could_not_be_written_are_told(store: Path, telemetry: Telemetry) -> None:
    RunBuilder(store, summary={"dropped_rows": 7}).losses([2.0, 1.0]).write()
    assert validated("show", telemetry("show", "--json").out)["dropped_rows"] == 7
    assert "lost\t7 rows could not be written" in telemetry("show").out


def test_values_that_were_no_numbers_are_told(store: Path, telemetry: Telemetry) -> None:
    RunBuilder(store, summary={"refused_values": 3}).losses([2.0, 1.0]).write()
    assert validated("show", telemetry("show", "--json").out)["refused_values"] == 3
    assert (
        "lost\t3 values of losses and metrics could not be written: not a single number"
        in telemetry("show").out
    )
