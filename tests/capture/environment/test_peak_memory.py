from pathlib import Path

import pytest
import torch
from provenance import opened, scalar

from telemetry.capture.budget import costs
from telemetry.capture.environment.peak_memory import peak_memory
from telemetry.format.manifest import read_manifest


def test_a_device_that_was_never_started_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: False)
    monkeypatch.delattr(torch.cuda, "max_memory_allocated")
    assert peak_memory() == {}


def test_the_fullest_device_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda index: [5, 9, 7][index])
    assert peak_memory() == {"peak_memory_bytes": 9}


def test_the_peak_is_in_the_summary_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "peak_memory", lambda: {"peak_memory_bytes": 12})
    model = scalar(0.5)
    telemetry = opened(model, torch.optim.SGD(model.parameters(), lr=0.1), tmp_path)
    loss = model(torch.ones(2, 1)).square().mean()
    loss.backward()
    telemetry.step(loss=loss)
    telemetry.close()
    assert telemetry.path is not None
    assert read_manifest(telemetry.path).summary["peak_memory_bytes"] == 12
