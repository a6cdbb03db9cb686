"""zero_gradients, by training: what is exactly zero needs two samples and no statistics."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback
from telemetry.diagnose.diagnose import diagnose_run
from telemetry.diagnose.finding import Diagnosis, Finding, Severity
from telemetry.store.store import Store

pytestmark = pytest.mark.torch
Loss = Callable[[Tensor, Tensor], Tensor]


def trained(
    store: Path,
    loss_of: Loss,
    *,
    steps: int = 30,
    head: Callable[[Tensor], Tensor] | None = None,
    lr: float = 0.1,
) -> Diagnosis:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 1))
    if head is not None:
        model[2].register_forward_pre_hook(lambda _layer, inputs: (head(inputs[0]),))
    optimizer = torch.optim.SGD(model.parameters(), lr)
    recording = TelemetryCallback(model, optimizer, store=store, every=2, overhead_budget=None)
    with recording as telemetry:
        for _ in range(steps):
            x = torch.randn(32, 8)
            y = x[:, :1].sign()
            optimizer.zero_grad()
            loss = loss_of(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    opened = Store.open(store)
    return diagnose_run(opened, opened.runs()[0])


def told(diagnosis: Diagnosis) -> Finding:
    return next(f for f in diagnosis.findings if f.detector == "zero_gradients")


def squared(out: Tensor, y: Tensor) -> Tensor:
    return (out - y).square().mean()


def test_a_softmax_over_one_unit_is_always_one(tmp_path: Path) -> None:
    found = told(trained(tmp_path, lambda out, y: squared(functional.softmax(out, -1), y)))
    assert found.severity is Severity.ERROR
    assert found.first_step == 0
    assert "every parameter" in found.message


def test_a_head_that_is_always_one_is_the_root(tmp_path: Path) -> None:
    """What is exactly zero is its consequence, and so is an answer that never changes."""
    diagnosis = trained(tmp_path, lambda out, y: squared(functional.softmax(out, -1), y))
    assert diagnosis.findings[0].detector == "output_head"
    assert told(diagnosis).consequence_of == "output_head"


def test_a_head_whose_input_is_zero_leaves_only_its_bias(tmp_path: Path) -> None:
    found = told(trained(tmp_path, squared, head=lambda hidden: hidden * 0))
    assert "every weight matrix" in found.message
    assert found.severity is Severity.ERROR


def test_a_loss_that_is_zero_has_nothing_to_learn(tmp_path: Path) -> None:
    """A hinge that every sample satisfies, after some steps or from the first one on."""
    diagnosis = trained(tmp_path / "soon", lambda out, y: (0.1 - out * y).clamp(min=0).mean())
    assert "zero_gradients" in diagnosis.passed
    never = trained(tmp_path / "never", lambda out, y: (out * y - 9).clamp(min=0).mean())
    assert "zero_gradients" in never.passed


def test_gradients_that_end_while_there_is_something_to_learn(tmp_path: Path) -> None:
    calls = iter(range(100))

    def stops(out: Tensor, y: Tensor) -> Tensor:
        return squared(out if next(calls) < 12 else out.detach() + 0 * out, y)

    found = told(trained(tmp_path, stops, steps=60, lr=0.01))
    assert found.first_step is not None
    assert 12 <= found.first_step <= 14
    assert "since step" in found.message


def test_a_network_that_learns_passes(tmp_path: Path) -> None:
    assert "zero_gradients" in trained(tmp_path, squared).passed


def test_one_sample_is_not_enough(tmp_path: Path) -> None:
    diagnosis = trained(tmp_path, lambda out, y: 0 * squared(out, y), steps=1)
    reason = next(n.reason for n in diagnosis.not_checked if n.detector == "zero_gradients")
    assert "at least 2" in reason
