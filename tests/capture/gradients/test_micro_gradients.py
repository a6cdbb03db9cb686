"""The gradient of the first micro-batch of sampled steps that accumulate."""

from pathlib import Path

import pytest
import torch
from loops import records
from torch import nn

from telemetry import TelemetryCallback


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


def sums(store: Path, inputs: list[list[float]], *, every: int = 1) -> list[object]:
    """Steps of a linear function of four weights: the gradient of a micro-batch is its input."""
    model = nn.Linear(1, 4, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    with TelemetryCallback(
        model, optimizer, store=store, every=every, overhead_budget=None, strict=True
    ) as telemetry:
        for micro_batches in inputs:
            optimizer.zero_grad()
            for x in micro_batches:
                model(torch.tensor([[x]])).sum().backward()
            optimizer.step()
            telemetry.step()
        assert telemetry.path is not None
    return [row["micro_grad_sumsq"] for row in records(telemetry.path, "steps")]


def test_the_first_micro_batch_is_measured_once_a_step_has_accumulated(tmp_path: Path) -> None:
    # Four weights, each with the gradient x: the sum of squares is 4 x^2.
    found = sums(tmp_path, [[1.0, 2.0], [3.0, 1.0], [5.0, 4.0, 1.0]])
    assert found == [None, 36.0, 100.0]


def test_one_backward_pass_is_no_micro_batch(tmp_path: Path) -> None:
    assert sums(tmp_path, [[1.0], [2.0], [3.0]]) == [None, None, None]


def test_a_step_that_ends_after_one_pass_has_none(tmp_path: Path) -> None:
    assert sums(tmp_path, [[1.0, 2.0], [3.0], [4.0, 1.0], [5.0, 1.0]]) == [None, None, None, 100.0]


def test_steps_between_samples_have_none(tmp_path: Path) -> None:
    found = sums(tmp_path, [[1.0, 1.0]] * 5, every=2)
    assert found == [None, None, 4.0, None, 4.0]
