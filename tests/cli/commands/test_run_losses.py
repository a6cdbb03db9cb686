"""One run has one loss, on every screen and in every document."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from command_line import Telemetry, Terminal, validated
from torch import nn

from telemetry import TelemetryCallback
from telemetry.format.manifest import read_manifest
from telemetry.json_values import Json
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

N_STEPS = 300


@pytest.fixture
def recorded(store: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """Two runs of noisy batches, and their losses."""
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")
    return [_recorded(store, index) for index in range(2)]


def _recorded(store: Path, index: int) -> list[float]:
    torch.manual_seed(index)
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    with TelemetryCallback(
        model, optimizer, store=store, name=f"run{index}", config={"lr": index}
    ) as telemetry:
        for _ in range(N_STEPS):
            optimizer.zero_grad()
            loss = (model(torch.randn(1, 2)) - torch.randn(1, 1)).square().sum()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            losses.append(float(loss.detach()))
        telemetry.log(val_loss=losses[-1])
    return losses


def _as_before(run: Run) -> None:
    """The manifest as older versions wrote it: the last batch, and the smallest."""
    path = run.ref.path / "run.json"
    document = json.loads(path.read_text("utf-8"))
    del document["summary"]["loss_to"]
    document["summary"]["metrics"]["loss"] = {"last": 9.0, "best": 0.0, "best_step": 1}
    path.write_text(json.dumps(document), "utf-8")


def test_one_run_has_the_same_loss_everywhere(
    recorded: list[list[float]], store: Path, telemetry: Telemetry
) -> None:
    opened = Store.open(store)
    runs = sorted(opened.runs(), key=lambda run: run.name)
    assert [run.knows_metrics for run in runs] == [True, True]
    summary = read_manifest(runs[1].ref.path).summary
    told = _losses_everywhere(recorded, telemetry)
    assert summary["metrics"]["loss"] == told
    for run in runs:
        _as_before(run)
    assert [run.knows_metrics for run in opened.runs()] == [False, False]
    assert _losses_everywhere(recorded, telemetry)["best_step"] == told["best_step"]


def _losses_everywhere(recorded: list[list[float]], telemetry: Telemetry) -> Mapping[str, Json]:
    """What the list of runs says, which all others say as well."""
    mean = sum(recorded[1][-30:]) / 30
    best = min(sum(recorded[1][i : i + 30]) / 30 for i in range(N_STEPS - 29))
    expected = pytest.approx((mean, best), rel=1e-9)
    assert (mean, best) != pytest.approx((recorded[1][-1], min(recorded[1])), rel=0.1)

    listed = validated("runs", telemetry("runs", "--sort", "name", "--json").out)["runs"][1]
    shown = validated("show", telemetry("show", "run1", "--json").out)
    (curve,) = (entry for entry in shown["metrics"] if entry["name"] == "loss")
    for entry in (listed["metrics"]["loss"], shown["run"]["metrics"]["loss"], curve):
        assert (entry["last"], entry["best"]) == expected
        assert entry["best_step"] == curve["best_step"]
    asked = ("--metric", "loss", "--json")
    swept = validated("sweep", telemetry("sweep", "default", *asked).out)["runs"]
    assert {entry["run"]: entry["value"] for entry in swept}[listed["run"]] == pytest.approx(
        mean, rel=1e-9
    )
    differing = validated("diff", telemetry("diff", "run0", "run1", *asked).out)
    metric = differing["metrics"][0]
    assert (metric["candidate"], metric["best"]["candidate"]) == expected
    sql = "SELECT metrics FROM runs WHERE name = 'run1'"
    rows = validated("query", telemetry("query", sql, "--json").out)["rows"]
    entry = json.loads(rows[0][0])["loss"]
    assert (entry["last"], entry["best"]) == expected
    return listed["metrics"]["loss"]


def test_a_metric_that_is_logged_is_as_it_was_logged(
    recorded: list[list[float]], telemetry: Telemetry, terminal: Terminal
) -> None:
    listed = validated("runs", telemetry("runs", "--sort", "name", "--json").out)["runs"][1]
    assert listed["metrics"]["val_loss"]["last"] == recorded[1][-1]
    terminal(120)
    screen = telemetry("runs", "--no-color").out
    assert "LOSS: mean over the last tenth of the steps" in screen
    told = "of the loss are means over a tenth of the steps"
    assert told in telemetry("show", "run1", "--no-color").out
    compared = ("diff", "run0", "run1", "--no-color", "--metric")
    assert f"best {told}" in telemetry(*compared, "loss").out
    assert told not in telemetry(*compared, "val_loss").out
    swept = ("sweep", "default", "--no-color", "--metric")
    assert "loss: mean over the last tenth of the steps" in telemetry(*swept, "loss").out
    assert "tenth of the steps" not in telemetry(*swept, "val_loss").out


@pytest.mark.usefixtures("recorded")
def test_the_list_of_closed_runs_opens_no_table(
    telemetry: Telemetry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(*_arguments: object, **_options: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Store, "session", opened)
    assert telemetry("runs").code == 0
