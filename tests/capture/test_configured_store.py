"""Where a run goes that names no store."""

import logging
from pathlib import Path

import pytest
import torch

from telemetry import TelemetryCallback

pytestmark = pytest.mark.torch


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TELEMETRY_STORE", raising=False)


def train() -> None:
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with TelemetryCallback(model, optimizer) as telemetry:
        loss = model(torch.ones(4, 2)).square().mean()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)


def test_the_settings_file_names_the_store(tmp_path: Path) -> None:
    Path("telemetry.toml").write_text('store = "runs/of-mine"\n')
    train()
    assert len(list((tmp_path / "runs" / "of-mine").glob("project=default/run=*/run.json"))) == 1


@pytest.mark.parametrize("text", ["store = 3\n", "stores = 'x'\n", "[[[", "store = 's3://b/runs'"])
def test_a_wrong_file_stops_no_training(
    text: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Path("telemetry.toml").write_text(text)
    with caplog.at_level(logging.WARNING, logger="telemetry"):
        train()
    assert len(list((tmp_path / "telemetry-runs").glob("project=default/run=*"))) == 1
    assert "telemetry.toml" in caplog.text
    assert "is stored in ./telemetry-runs" in caplog.text


def test_an_address_of_the_environment_becomes_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TELEMETRY_STORE", "s3://bucket/runs")
    with caplog.at_level(logging.WARNING, logger="telemetry"):
        train()
    assert [path.name for path in tmp_path.iterdir()] == ["telemetry-runs"]
    assert "s3 addresses are not supported" in caplog.text
