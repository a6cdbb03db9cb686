"""validation_mismatch, by training a regression whose validation is prepared otherwise."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from telemetry import TelemetryCallback
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Diagnosis, Severity
from telemetry.store.store import Store

pytestmark = pytest.mark.torch


def trained(
    store: Path, *, scale: float = 1.0, shuffled: bool = False, times: float = 1.0, every: int = 25
) -> Diagnosis:
    """Fits a line; `times` is the unit of the logged validation loss."""
    generator = torch.Generator().manual_seed(0)
    weights = torch.randn(8, 1, generator=generator)

    def batch(n: int) -> tuple[Tensor, Tensor]:
        x = torch.randn(n, 8, generator=generator)
        return x, x @ weights

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    val_x, val_y = batch(128)
    val_x, val_y = scale * val_x, val_y.roll(1, 0) if shuffled else val_y
    with TelemetryCallback(model, optimizer, store=store, overhead_budget=None) as telemetry:
        for step in range(1, 151):
            x, y = batch(32)
            loss = nn.functional.mse_loss(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if step % every == 0:
                with torch.no_grad():
                    val_loss = nn.functional.mse_loss(model(val_x), val_y)
                telemetry.log(val_loss=times * float(val_loss))
    opened = Store.open(store)
    return diagnose_run(opened, opened.runs()[0])


def found(diagnosis: Diagnosis) -> list[Severity]:
    return [f.severity for f in diagnosis.findings if f.detector == "validation_mismatch"]


def test_inputs_on_another_scale_or_labels_of_other_samples_warn(tmp_path: Path) -> None:
    assert found(trained(tmp_path / "scale", scale=12.0)) == [Severity.WARNING]
    assert found(trained(tmp_path / "labels", shuffled=True)) == [Severity.WARNING]


def test_a_validation_loss_that_falls_passes_in_any_unit(tmp_path: Path) -> None:
    for times in (1.0, 128.0):
        diagnosis = trained(tmp_path / str(times), times=times)
        assert "validation_mismatch" in diagnosis.passed


def test_one_evaluation_is_not_enough(tmp_path: Path) -> None:
    diagnosis = trained(tmp_path, shuffled=True, every=150)
    reasons = {n.detector: n.reason for n in diagnosis.not_checked}
    assert "at least 2" in reasons["validation_mismatch"]
