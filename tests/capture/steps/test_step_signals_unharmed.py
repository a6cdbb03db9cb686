"""What observes loaders and schedulers fails alone: training and other recording go on."""

from pathlib import Path

import pytest
import torch
from loops import records
from torch import Tensor
from torch.optim.lr_scheduler import ExponentialLR, LRScheduler
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.dataloader import _BaseDataLoaderIter

from telemetry import TelemetryCallback
from telemetry.capture.data import waiting
from telemetry.capture.data.loaders import LoaderFacts
from telemetry.capture.steps import schedulers
from telemetry.errors import CaptureError

BROKEN: dict[str, tuple[object, str, str]] = {
    "facts": (LoaderFacts, "of", "data"),
    "a pass": (waiting._Pass, "__init__", "data"),
    "an epoch": (waiting.DataWatch, "_follow", "data"),
    "a scheduler": (schedulers, "scheduler_settings", "schedule"),
    "settings": (schedulers, "settings_of_groups", "schedule"),
}


def train(
    store: Path | None, *, strict: bool = False
) -> tuple[list[Tensor], TelemetryCallback | None]:
    """Weights and random state after two epochs over shuffled data."""
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    scheduler = ExponentialLR(optimizer, 0.9)
    data = TensorDataset(torch.randn(12, 2))
    telemetry = None
    if store is not None:
        telemetry = TelemetryCallback(model, optimizer, store=store, every=1, strict=strict)
    for _ in range(2):
        for (batch,) in DataLoader(data, batch_size=4, shuffle=True):
            loss = model(batch).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if telemetry is not None:
                telemetry.step(loss=loss)
        scheduler.step()
        optimizer.param_groups[0]["weight_decay"] += 0.125
    if telemetry is not None:
        telemetry.close()
    return [model.weight.detach().clone(), torch.get_rng_state()], telemetry


def originals() -> tuple[object, ...]:
    return DataLoader.__iter__, _BaseDataLoaderIter.__next__, LRScheduler.step


ORIGINALS = originals()


def fail(*_: object, **__: object) -> None:
    raise RuntimeError("planted")


def test_training_over_a_loader_with_a_scheduler_is_bit_identical(tmp_path: Path) -> None:
    expected, _ = train(None)
    found, _ = train(tmp_path, strict=True)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("what", BROKEN)
def test_an_error_switches_off_its_part_and_nothing_else(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = train(None)
    owner, name, part = BROKEN[what]
    monkeypatch.setattr(owner, name, fail)
    found, telemetry = train(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert telemetry is not None
    assert telemetry.path is not None
    messages = [
        row["message"]
        for row in records(telemetry.path, "events")
        if row["kind"] == "telemetry_error"
    ]
    assert messages == [f"{part} switched off: RuntimeError: planted"]
    assert originals() == ORIGINALS, "what the part replaced was not put back"
    rows = records(telemetry.path, "steps")
    assert len(rows) == 6
    assert None not in [row["loss"] for row in rows]
    other = "epoch" if part == "schedule" else "scheduler_calls"
    assert [row[other] for row in rows] == (
        [0, 0, 0, 1, 1, 1] if other == "epoch" else [0, 0, 1] * 2
    )


def test_strict_recording_raises_from_the_loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoaderFacts, "of", fail)
    with pytest.raises(CaptureError, match="data: RuntimeError: planted"):
        train(tmp_path, strict=True)


def test_nothing_is_observed_where_telemetry_is_disabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TELEMETRY_DISABLED", "1")
    before = (DataLoader.__iter__, ExponentialLR.step)
    model = torch.nn.Linear(2, 1)
    TelemetryCallback(model, torch.optim.SGD(model.parameters(), lr=0.1), store=tmp_path)
    assert (DataLoader.__iter__, ExponentialLR.step) == before
