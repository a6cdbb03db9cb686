"""Tensors that a forward uses and nobody trains are recorded; what only looks like them is not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from loops import records
from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry import TelemetryCallback

N_STEPS = 6


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


class Listed(nn.Module):
    """A layer in a Python list, and a tensor that is no parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 12)
        self.hidden = [nn.Linear(12, 6)]
        self.gain = torch.ones(6, requires_grad=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.hidden[0](self.first(x).relu())


class Noisy(nn.Module):
    """Makes a tensor that requires a gradient in each forward."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(8, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.first(x) + torch.randn(6).requires_grad_()


def trained(
    store: Path,
    model: nn.Module,
    *optimizers: Optimizer,
    inputs: Callable[[], Tensor] = lambda: torch.randn(4, 8),
    loss_of: Callable[[Tensor], Tensor] = lambda out: out.square().mean(),
    others: tuple[Optimizer, ...] = (),
) -> Path:
    with TelemetryCallback(
        model, optimizers or None, store=store, every=1, overhead_budget=None, strict=True
    ) as telemetry:
        for _ in range(N_STEPS):
            for optimizer in (*optimizers, *others):
                optimizer.zero_grad()
            loss = loss_of(model(inputs()))
            loss.backward()
            for optimizer in (*optimizers, *others):
                optimizer.step()
            telemetry.step(loss=loss.detach())
        assert telemetry.path is not None
        return telemetry.path


def counts(run: Path) -> list[object]:
    return [row["forgotten_parameters"] for row in records(run, "steps")]


def adam(*modules: nn.Module, tensors: tuple[Tensor, ...] = ()) -> Optimizer:
    return torch.optim.Adam([*(p for module in modules for p in module.parameters()), *tensors])


def test_layers_and_tensors_that_nobody_trains_are_counted_and_described(tmp_path: Path) -> None:
    model = Listed()
    run = trained(tmp_path, model, adam(model))
    assert counts(run) == [None, 3, None, 3, None, None]
    (event,) = [row for row in records(run, "events") if row["kind"] == "forgotten_parameters"]
    assert "a Linear of 12x6" in str(event["payload"])
    assert "a tensor of 6 in Mul" in str(event["payload"])


def test_what_the_given_optimizer_has_is_not_forgotten(tmp_path: Path) -> None:
    model = Listed()
    optimizer = adam(model, *model.hidden, tensors=(model.gain,))
    assert set(counts(trained(tmp_path, model, optimizer))) == {None, 0}


def test_what_another_optimizer_trains_is_not_forgotten(tmp_path: Path) -> None:
    model = Listed()
    other = adam(*model.hidden, tensors=(model.gain,))
    assert set(counts(trained(tmp_path, model, adam(model), others=(other,)))) == {None, 0}


@pytest.mark.parametrize("is_made", [False, True], ids=["leaf", "computed"])
def test_inputs_that_require_a_gradient_are_no_parameters(
    tmp_path: Path,
    is_made: bool,  # noqa: FBT001
) -> None:
    points = torch.randn(4, 8, requires_grad=True)
    model = nn.Linear(8, 6)
    run = trained(tmp_path, model, adam(model), inputs=lambda: 2 * points if is_made else points)
    assert set(counts(run)) == {None, 0}


def test_what_only_the_loss_uses_is_none_of_the_model(tmp_path: Path) -> None:
    model, critic = nn.Linear(8, 6), nn.Linear(6, 1)
    run = trained(tmp_path, model, adam(model), loss_of=lambda out: critic(out).square().mean())
    assert set(counts(run)) == {None, 0}


def test_a_tensor_made_in_each_forward_is_not_forgotten(tmp_path: Path) -> None:
    model = Noisy()
    assert set(counts(trained(tmp_path, model, adam(model)))) == {None, 0}


def test_nothing_is_judged_where_the_loop_has_no_optimizer(tmp_path: Path) -> None:
    assert set(counts(trained(tmp_path, Listed()))) == {None}
