"""Loops wired wrongly, and odd loops wired rightly beside them."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

from collections.abc import Callable

import torch
from material import Bench, digits, mlp
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
            if not bench.is_faulty:
                optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            bench.result["loss"] = float(loss.detach())
    bench.score(model, data)


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
            bench.fault(model[-1], without=model).zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    bench.score(model, data)


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
    bench.score(model["first"], data)


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
    bench.score(model, data)


def _accumulating(
    bench: Bench,
    optimizer_of: Callable[[nn.Module], Optimizer],
    *,
    k: int = 8,
    divisor: float = 1.0,
    reports_root: bool = False,
    steps: int = 150,
) -> None:
    data = digits()
    model = mlp(MLP_3)
    optimizer = optimizer_of(model)
    total = torch.zeros(())
    with bench.record(model, optimizer) as telemetry:
        for number, (x, y) in enumerate(data.batches(bench.generator(), 16, k * steps), 1):
            loss = functional.cross_entropy(model(x), y)
            root = loss / divisor if divisor != 1 else loss
            root.backward()
            total += (root if reports_root else loss).detach() / k
            if number % k == 0:
                optimizer.step()
                optimizer.zero_grad()
                telemetry.step(loss=total.clone())
                total.zero_()
    bench.score(model, data)


@fault("F21", "loss_multiplier", by=40)
def undivided(bench: Bench) -> None:
    """At a rate of 0.3 two of three seeds go on learning, to an accuracy of 0.3 or 0.4."""
    divisor = bench.fault(1.0, without=8.0)
    _accumulating(bench, lambda m: SGD(m.parameters(), 0.5), divisor=divisor)


@fault("F21b", "loss_multiplier", by=40)
def undivided_momentum(bench: Bench) -> None:
    divisor = bench.fault(1.0, without=16.0)
    _accumulating(
        bench, lambda m: SGD(m.parameters(), 0.1, momentum=0.9), k=16, divisor=divisor, steps=100
    )


@fault("F21x", "learning_rate_too_high", "loss_spike", by=100)
def divided_but_too_high(bench: Bench) -> None:
    """Divides and reports what it divided; its rate is the fault."""
    rate = bench.fault(4.0, without=0.3)
    _accumulating(bench, lambda m: SGD(m.parameters(), rate), divisor=8, reports_root=True)


@healthy("W03")
def divided(bench: Bench) -> None:
    _accumulating(bench, lambda m: SGD(m.parameters(), 0.5), divisor=8)


@healthy("W04")
def divided_and_reported_so(bench: Bench) -> None:
    _accumulating(bench, lambda m: SGD(m.parameters(), 0.3), divisor=8, reports_root=True)


@healthy("W05")
def undivided_by_choice(bench: Bench) -> None:
    """Sums micro-batches and has a rate that fits."""
    _accumulating(bench, lambda m: SGD(m.parameters(), 0.03))


@healthy("W06")
def undivided_adam(bench: Bench) -> None:
    _accumulating(bench, lambda m: Adam(m.parameters(), 1e-3))


@healthy("W07")
def sharpness_aware(bench: Bench) -> None:
    """Two passes over each batch, the second at perturbed weights; zeros between them."""
    data = digits()
    model = mlp(MLP_3)
    optimizer = SGD(model.parameters(), 0.1)
    with bench.record(model, optimizer) as telemetry:
        for x, y in data.batches(bench.generator(), 64, 300):
            loss = functional.cross_entropy(model(x), y)
            loss.backward()
            gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
            norm = torch.stack([g.norm() for g in gradients]).norm()
            moves = [0.05 * g / norm for g in gradients]
            with torch.no_grad():
                torch._foreach_add_(list(model.parameters()), moves)
            optimizer.zero_grad(set_to_none=False)
            functional.cross_entropy(model(x), y).backward()
            with torch.no_grad():
                torch._foreach_sub_(list(model.parameters()), moves)
            optimizer.step()
            optimizer.zero_grad()
            telemetry.step(loss=loss)
    bench.score(model, data)
