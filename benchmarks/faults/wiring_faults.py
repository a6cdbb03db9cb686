"""Loops wired wrongly, and odd loops wired rightly beside them."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import Bench, accuracy, digits, mlp
from recipe import fault, healthy
from torch import nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer

MLP_3 = (64, 64, 64, 10)


def _uncleared(bench: Bench, model: nn.Module, optimizer: Optimizer, steps: int) -> None:
    data = digits()
    with bench.record(model, optimizer) as telemetry:
        for x, y in data.batches(bench.generator(), 64, steps):
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            bench.result["loss"] = float(loss.detach())
    bench.result["accuracy"] = accuracy(model, data)


@fault("F19", "gradients_not_cleared", by=20)
def uncleared_adam(bench: Bench) -> None:
    model = mlp(MLP_3)
    _uncleared(bench, model, Adam(model.parameters(), 1e-3), 300)


@fault("F20", "gradients_not_cleared", by=20)
def uncleared_sgd(bench: Bench) -> None:
    model = mlp(MLP_3)
    _uncleared(bench, model, SGD(model.parameters(), 0.05), 300)


@fault("F20b", "gradients_not_cleared", by=40)
def cleared_in_part(bench: Bench) -> None:
    """Only the head is cleared."""
    model = mlp(MLP_3)
    optimizer = SGD(model.parameters(), 0.1)
    data = digits()
    with bench.record(model, optimizer) as telemetry:
        for x, y in data.batches(bench.generator(), 64, 300):
            loss = functional.cross_entropy(model(x), y)
            model[-1].zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    bench.result["accuracy"] = accuracy(model, data)


@healthy("W01")
def actor_by_hand(bench: Bench) -> None:
    """Two networks: one's gradients come from `grad` and replace the old, one calls `backward`."""
    data = digits()
    model = nn.ModuleDict({"first": mlp(MLP_3), "second": mlp(MLP_3)})
    first = SGD(model["first"].parameters(), 0.1)
    second = SGD(model["second"].parameters(), 0.1)
    with bench.record(model, [first, second]) as telemetry:
        for x, y in data.batches(bench.generator(), 64, 300):
            second.zero_grad()
            soft = functional.cross_entropy(model["second"](x), y)
            soft.backward()
            second.step()
            loss = functional.cross_entropy(model["first"](x), y)
            own = list(model["first"].parameters())
            for parameter, gradient in zip(own, torch.autograd.grad(loss, own), strict=True):
                parameter.grad = gradient
            first.step()
            telemetry.step(loss=loss + soft)
    bench.result["accuracy"] = accuracy(model["first"], data)


@healthy("W02")
def cleared_after_step(bench: Bench) -> None:
    """Cleared to zeros after the step, with micro-batches and a second pass over each."""
    data = digits()
    model = mlp(MLP_3)
    optimizer = SGD(model.parameters(), 0.1)
    with bench.record(model, optimizer) as telemetry:
        for number, (x, y) in enumerate(data.batches(bench.generator(), 16, 1200), 1):
            loss = functional.cross_entropy(model(x), y)
            noisy = functional.cross_entropy(model(x + 0.1 * torch.randn_like(x)), y)
            (loss / 8).backward()
            (noisy / 8).backward()
            if number % 4 == 0:
                optimizer.step()
                optimizer.zero_grad(set_to_none=False)
                telemetry.step(loss=loss)
    bench.result["accuracy"] = accuracy(model, data)
