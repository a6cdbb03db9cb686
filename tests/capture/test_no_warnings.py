"""No warning of telemetry's own reaches a training whose numbers are not finite."""

import math
import warnings
from pathlib import Path

import pytest
import torch
from loops import ConvNet, Training, images, records

from telemetry import TelemetryCallback


@pytest.mark.parametrize("value", [math.inf, math.nan, 1e30])
@pytest.mark.parametrize("where", ["lr", "weight_decay", "weight", "state", "input"])
def test_what_is_not_finite_is_recorded_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, value: float
) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")
    training = Training(ConvNet, images)
    generator = torch.Generator().manual_seed(0)
    with (
        warnings.catch_warnings(record=True) as caught,
        TelemetryCallback(
            training.model, training.optimizer, store=tmp_path, every=1, overhead_budget=None
        ) as telemetry,
    ):
        warnings.simplefilter("always")
        for step in range(4):
            inputs, labels = images(generator)
            if step == 2:
                plant(training, inputs, where, value)
            training.optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(training.model(inputs), labels)
            loss.backward()
            training.optimizer.step()
            telemetry.step(loss=loss)
    assert [str(warning.message) for warning in caught] == []
    assert telemetry.path is not None
    assert "telemetry_error" not in {row["kind"] for row in records(telemetry.path, "events")}
    assert {row["step"] for row in records(telemetry.path, "tensor_stats")} == {0, 1, 2, 3}


def plant(training: Training, inputs: torch.Tensor, where: str, value: float) -> None:
    if where == "input":
        inputs[0] = value
    elif where == "weight":
        with torch.no_grad():
            next(training.model.parameters()).view(-1)[0] = value
    elif where == "state":
        next(iter(training.optimizer.state.values()))["exp_avg"].fill_(value)
    else:
        training.optimizer.param_groups[0][where] = value
