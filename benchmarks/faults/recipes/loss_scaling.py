"""Loss scaling, wrong and right; float16 gradients are emulated on a CPU."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

from collections.abc import Callable

import torch
from material import Bench, digits, mlp
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer

MLP_3 = (64, 64, 64, 10)


class Half(torch.autograd.Function):
    """Passes values on as they are and gradients as float16 would."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        """The same values."""
        del ctx
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """Rounded, infinite beyond 65,504."""
        del ctx
        return gradient.half().float()


def _scaled(
    bench: Bench,
    optimizer_of: Callable[[nn.Module], Optimizer],
    *,
    init_scale: float = 2.0**16,
    growth_interval: int = 2000,
    unscaled_first: bool = True,
    loss_of: Callable[[Tensor, Tensor], Tensor] = functional.cross_entropy,
    steps: int = 300,
) -> None:
    data = digits()
    model = mlp(MLP_3)
    optimizer = optimizer_of(model)
    scaler = torch.amp.GradScaler("cpu", init_scale=init_scale, growth_interval=growth_interval)
    with bench.record(model, optimizer) as telemetry:
        for x, y in data.batches(bench.generator(), 64, steps):
            loss = loss_of(Half.apply(model(x)), y)
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            if unscaled_first:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            telemetry.step(loss=loss)
    bench.score(model, data)
    bench.result["scale"] = scaler.get_scale()


@fault("F56", "loss_scaler", by=60)
def no_scale(bench: Bench) -> None:
    """A square root at zero: the gradient is NaN at any scale, the loss is finite."""
    _scaled(
        bench,
        lambda m: Adam(m.parameters(), 1e-3),
        loss_of=bench.fault(
            lambda out, y: (
                functional.cross_entropy(out, y) + 1e-3 * (out - out.detach()).square().sum().sqrt()
            ),
            without=functional.cross_entropy,
        ),
    )


@fault("F56b", "loss_scaler", by=40)
def clipped_too_early(bench: Bench) -> None:
    unscaled_first = not bench.is_faulty
    _scaled(bench, lambda m: SGD(m.parameters(), 0.1), unscaled_first=unscaled_first)


@healthy("W08")
def huge_first_scale(bench: Bench) -> None:
    _scaled(bench, lambda m: SGD(m.parameters(), 0.1), init_scale=2.0**40)


@healthy("W09")
def quick_growth(bench: Bench) -> None:
    """Doubles every 15 steps, so that one step in 16 is refused."""
    _scaled(bench, lambda m: Adam(m.parameters(), 1e-3), growth_interval=15, steps=600)
