"""The last 64 steps are there with their scalars, however seldom the steps were sampled."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from loops import records
from provenance import opened, scalar, x
from torch.optim.lr_scheduler import ExponentialLR

from telemetry import TelemetryCallback
from telemetry.capture.writer import flight_recorder
from telemetry.format.flight_ring import parse_ring

N_STEPS = 100
EVERY = 1000  # one sample, at the first step
LIMIT = 0.5


def train(telemetry: TelemetryCallback, model: torch.nn.Linear, optimizer: torch.optim.SGD) -> None:
    """Step k has the loss 0.5 + k, the gradient 2, clipped to 0.5, and the rate 0.99^k / 1000."""
    scheduler = ExponentialLR(optimizer, 0.99)
    for step in range(N_STEPS):
        optimizer.zero_grad()
        (model(x(0.5)) * 2).sum().backward()
        (model(x(0.5)) * 2).sum().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), LIMIT)
        optimizer.step()
        scheduler.step()
        telemetry.step(loss=0.5 + step)


def check(rows: Mapping[int, Mapping[str, object]]) -> None:
    assert sorted(rows)[-64:] == list(range(N_STEPS - 64, N_STEPS))
    for step, row in rows.items():
        assert row["loss"] == 0.5 + step
        assert row["lr"] == pytest.approx(1e-3 * 0.99**step)
        assert row["grad_norm_total"] == 2.0
        assert row["clip_coefficient"] == pytest.approx(0.25, rel=1e-5)
        assert (row["samples"], row["backward_calls"]) == (2, 2)
        assert (row["flags"] == 1) == (step > 0)
        assert float(str(row["elapsed_s"])) > 0
        assert None not in (row["step_s"], row["overhead_s"])


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TelemetryCallback:
    """A recording that is still open, and of which each step is written when it ends."""
    monkeypatch.setattr(flight_recorder, "TOGETHER_S", 0.0)
    model = scalar()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    telemetry = opened(model, optimizer, tmp_path, every=EVERY)
    train(telemetry, model, optimizer)
    return telemetry


def test_what_a_killed_process_leaves_has_the_last_64_steps(trained: TelemetryCallback) -> None:
    assert trained.path is not None
    (path,) = trained.path.glob(".flight-*")
    found = parse_ring(path.read_bytes()).records
    trained.close()
    assert len(found) == 64
    check(found)


def test_what_an_exception_leaves_has_all_steps(trained: TelemetryCallback) -> None:
    with pytest.raises(ZeroDivisionError), trained:
        _ = 1 / 0
    assert trained.path is not None
    rows = {int(str(row["step"])): row for row in records(trained.path, "steps")}
    assert len(rows) == N_STEPS
    check(rows)
    assert {row["scheduler_calls"] for row in rows.values()} == {1}
    assert {row["step"] for row in records(trained.path, "tensor_stats")} == {0}


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_what_comes_before_a_loss_that_is_not_finite_is_there(
    trained: TelemetryCallback, loss: float
) -> None:
    trained.step(loss=loss)  # one call more: it speaks of the coming step
    trained.log(val_loss=1.0)
    assert trained.path is not None
    (path,) = trained.path.glob(".flight-*")
    check(parse_ring(path.read_bytes()).records)
    trained.close()
    rows = {int(str(row["step"])): row for row in records(trained.path, "steps")}
    last = rows.pop(N_STEPS)
    assert str(last["loss"]) == str(loss)
    check(rows)
