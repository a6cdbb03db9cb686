"""Gradients that are added to the next step's, and the many loops in which they are not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from loops import records
from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry import TelemetryCallback


@pytest.fixture(autouse=True)
def _no_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TELEMETRY_COMPACT", "off")


def shares(store: Path, model: nn.Module, optimizers: object, **options: object) -> "Shares":
    # Without a budget: on a busy machine it would leave out samples.
    options = {"overhead_budget": None, "strict": True, **options}
    return Shares(TelemetryCallback(model, optimizers, store=store, **options))  # type: ignore[arg-type]


class Shares:
    """A callback whose steps' shares are read when it is closed."""

    def __init__(self, telemetry: TelemetryCallback) -> None:
        self.telemetry = telemetry

    def read(self) -> list[object]:
        self.telemetry.close()
        assert self.telemetry.path is not None
        return [row["stale_grad_share"] for row in records(self.telemetry.path, "steps")]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))


def loss_of(model: nn.Module, step: int) -> Tensor:
    return model(torch.full((2, 3), 1.0 + step)).square().mean()


def clear(optimizer: Optimizer, way: str) -> None:
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if way == "none":
        optimizer.zero_grad()
    elif way == "zeros":
        optimizer.zero_grad(set_to_none=False)
    elif way == "by hand":
        for parameter in parameters:
            parameter.grad = None
    elif way == "data":
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.data.zero_()


@pytest.mark.parametrize("way", ["none", "zeros", "by hand", "data"])
@pytest.mark.parametrize("when", ["before forward", "before backward", "after step"])
def test_cleared_gradients_are_not_stale(tmp_path: Path, way: str, when: str) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    run = shares(tmp_path, model, optimizer)
    for step in range(4):
        if when == "before forward":
            clear(optimizer, way)
        loss = loss_of(model, step)
        if when == "before backward":
            clear(optimizer, way)
        loss.backward()
        optimizer.step()
        if when == "after step":
            clear(optimizer, way)
    assert run.read() == [None, 0.0, 0.0, 0.0]


@pytest.mark.parametrize("optimizer_class", [torch.optim.SGD, torch.optim.AdamW])
def test_gradients_that_are_never_cleared_are_stale_in_every_step_after_the_first(
    tmp_path: Path, optimizer_class: Callable[..., Optimizer]
) -> None:
    model = net()
    optimizer = optimizer_class(model.parameters(), lr=0.01)
    run = shares(tmp_path, model, optimizer)
    for step in range(4):
        loss_of(model, step).backward()
        optimizer.step()
    assert run.read() == [None, 1.0, 1.0, 1.0]


@pytest.mark.parametrize("cleared", [True, False])
def test_gradients_that_are_not_finite_are_compared_as_well(tmp_path: Path, cleared: bool) -> None:  # noqa: FBT001
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    run = shares(tmp_path, model, optimizer)
    for step in range(4):
        (loss_of(model, step) * (float("nan") if step else 1.0)).backward()
        optimizer.step()
        if cleared:
            optimizer.zero_grad()
    assert run.read() == [None, *[0.0 if cleared else 1.0] * 3]


def test_what_is_cleared_in_part_is_a_share(tmp_path: Path) -> None:
    model = net()  # two weights and two biases: four probes
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    run = shares(tmp_path, model, optimizer)
    for step in range(3):
        loss_of(model, step).backward()
        optimizer.step()
        model[0].weight.grad = None
    assert run.read() == [None, 0.75, 0.75]


def test_a_gradient_of_zeros_was_not_used(tmp_path: Path) -> None:
    model = net()
    with torch.no_grad():
        model[2].weight.zero_()  # nothing arrives at the first layer
    optimizer = torch.optim.SGD([*model[0].parameters(), model[2].bias], lr=0.01)
    run = shares(tmp_path, model, optimizer)
    for step in range(3):
        loss_of(model, step).backward()
        optimizer.step()
        if step == 0:
            model[2].bias.grad = None
    # Of three probes one was used: first cleared, then not.
    assert run.read() == [None, 0.0, 1.0]


@pytest.mark.parametrize("cleared", [True, False])
def test_accumulation_is_told_from_gradients_that_stay(tmp_path: Path, cleared: bool) -> None:  # noqa: FBT001
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    run = shares(tmp_path, model, optimizer)
    for step in range(3):
        for micro_step in range(3):
            (loss_of(model, step + micro_step) / 3).backward()
        optimizer.step()
        if cleared:
            optimizer.zero_grad(set_to_none=False)
    assert run.read() == ([None, 0.0, 0.0] if cleared else [None, 1.0, 1.0])


@pytest.mark.parametrize("cleared", ["both", "generator"])
def test_a_backward_pass_of_the_generator_is_not_the_critics_own(
    tmp_path: Path, cleared: str
) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"generator": nn.Linear(2, 3), "critic": nn.Linear(3, 1)})
    critic = torch.optim.SGD(model["critic"].parameters(), lr=0.01)
    generator = torch.optim.SGD(model["generator"].parameters(), lr=0.01)
    run = shares(tmp_path, model, [critic, generator])
    for step in range(3):
        noise = torch.full((4, 2), 1.0 + step)
        fake = model["generator"](noise)
        if cleared == "both":
            critic.zero_grad(set_to_none=False)
        model["critic"](fake.detach()).square().mean().backward()
        critic.step()
        # The critic's used gradients are still there, and its generator adds to them.
        generator.zero_grad()
        model["critic"](fake).square().mean().backward()
        generator.step()
    assert run.read() == ([None, 0.0, 0.0] if cleared == "both" else [None, 1.0, 1.0])


@pytest.mark.parametrize("cleared", [True, False])
def test_the_backward_passes_of_a_closure_belong_to_its_step(tmp_path: Path, cleared: bool) -> None:  # noqa: FBT001
    model = net()
    optimizer = torch.optim.LBFGS(model.parameters(), lr=0.01, max_iter=2)
    run = shares(tmp_path, model, optimizer, every=2, overhead_budget=None)

    def closure() -> Tensor:
        if cleared:
            optimizer.zero_grad()
        loss = loss_of(model, 0)
        loss.backward()
        return loss

    for _ in range(4):
        optimizer.step(closure)  # type: ignore[arg-type]
    # Steps 0 and 2 are sampled; the gradients that they used could be in steps 1 and 3.
    expected = 0.0 if cleared else 1.0
    assert run.read() == [None, expected, None, expected]


def test_only_what_follows_a_sampled_step_is_looked_at(tmp_path: Path) -> None:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    run = shares(tmp_path, model, optimizer, every=3, overhead_budget=None)
    for step in range(6):
        loss_of(model, step).backward()
        optimizer.step()
    assert run.read() == [None, 1.0, None, None, 1.0, None]


def test_gradients_of_an_embedding_that_are_sparse_are_passed_over(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(5, 3, sparse=True), nn.Linear(3, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    run = shares(tmp_path, model, optimizer)
    for _ in range(2):
        model(torch.tensor([[1, 2]])).square().mean().backward()
        optimizer.step()
    assert run.read() == [None, 1.0]


def test_gradients_that_are_put_in_place_of_the_used_ones_are_not_stale(tmp_path: Path) -> None:
    """As of an actor whose gradients come from `grad`, beside a critic that calls `backward`."""
    model, critic = net(), net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    run = shares(tmp_path, nn.ModuleList([model, critic]), optimizer)
    for step in range(3):
        loss_of(critic, step).backward()
        parameters = list(model.parameters())
        gradients = torch.autograd.grad(loss_of(model, step), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
    assert run.read() == [None, 0.0, 0.0]


def test_gradients_copied_into_those_of_float32_weights_are_not_stale(tmp_path: Path) -> None:
    model = net().double()
    copies = [p.detach().float().requires_grad_() for p in model.parameters()]
    optimizer = torch.optim.SGD(copies, lr=0.01)
    run = shares(tmp_path, model, optimizer)
    for step in range(3):
        model.zero_grad()
        model(torch.full((2, 3), 1.0 + step).double()).square().mean().backward()
        for copy, parameter in zip(copies, model.parameters(), strict=True):
            assert parameter.grad is not None
            if copy.grad is None:
                copy.grad = torch.empty_like(copy)
            copy.grad.copy_(parameter.grad)
        optimizer.step()
    assert run.read() == [None, None, None]
