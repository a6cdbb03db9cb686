"""Healthy controls H01 to H15 of the table: each trips a naive rule."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import math

import torch
from material import (
    Bench,
    Residual,
    digits,
    evaluation,
    he,
    mlp,
    train,
    xavier,
)
from recipe import healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR

from recipes.healthy_digits import MLP_3, NormedNet, digits_run


@healthy("H01")
def plain(bench: Bench) -> None:
    model = mlp(MLP_3)
    digits_run(bench, model, Adam(model.parameters(), 1e-3))


@healthy("H02")
def deep_default(bench: Bench) -> None:
    model = mlp((64, *[64] * 9, 10))
    digits_run(bench, model, Adam(model.parameters(), 1e-3), 600)


@healthy("H03a")
def two_sigmoids(bench: Bench) -> None:
    model = mlp(MLP_3, nn.Sigmoid)
    digits_run(bench, model, Adam(model.parameters(), 3e-3), 600)


@healthy("H03b")
def three_sigmoids(bench: Bench) -> None:
    model = mlp((64, 64, 64, 64, 10), nn.Sigmoid)
    digits_run(bench, model, Adam(model.parameters(), 3e-3), 600)


@healthy("H04")
def deep_tanh(bench: Bench) -> None:
    model = mlp((64, *[64] * 9, 10), nn.Tanh, start=xavier)
    digits_run(bench, model, Adam(model.parameters(), 1e-3))


@healthy("H05")
def zero_branches(bench: Bench) -> None:
    model = Residual(12, scale=1e-6)
    for block in model.blocks:
        nn.init.zeros_(block[3].weight)
    digits_run(bench, model, Adam(model.parameters(), 1e-3))


@healthy("H06")
def large_steps(bench: Bench) -> None:
    model = NormedNet()
    digits_run(bench, model, SGD(model.parameters(), 3.0))


@healthy("H07a")
def rmsprop(bench: Bench) -> None:
    model = mlp(MLP_3, start=he)
    digits_run(bench, model, RMSprop(model.parameters(), 1e-3))


@healthy("H07b")
def sgd(bench: Bench) -> None:
    model = mlp(MLP_3, start=he)
    digits_run(bench, model, SGD(model.parameters(), 0.2))


@healthy("H08")
def warm_up_and_cosine(bench: Bench) -> None:
    model = mlp(MLP_3)
    optimizer = Adam(model.parameters(), 3e-3)

    def rate(step: int) -> float:
        return step / 80 if step < 80 else 0.5 + 0.5 * math.cos(math.pi * (step - 80) / 320)

    digits_run(bench, model, optimizer, schedule=LambdaLR(optimizer, rate))


@healthy("H09")
def warm_restarts(bench: Bench) -> None:
    model = mlp(MLP_3)
    optimizer = SGD(model.parameters(), 0.2, momentum=0.9)
    digits_run(bench, model, optimizer, schedule=CosineAnnealingWarmRestarts(optimizer, 100))


@healthy("H10")
def fine_tuning(bench: Bench) -> None:
    model = mlp(MLP_3)
    data = digits()
    optimizer = Adam(model.parameters(), 1e-3)
    for x, y in data.batches(bench.generator(), 64, 120):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    digits_run(bench, model, AdamW(model.parameters(), 2e-5), 200)


class Adapter(nn.Module):
    """A frozen linear layer plus a low-rank update that starts at zero."""

    def __init__(self, base: nn.Linear, rank: int = 4) -> None:
        super().__init__()
        self.base = base.requires_grad_(requires_grad=False)
        self.lora_a = nn.Parameter(torch.randn(rank, base.in_features) / base.in_features**0.5)
        self.lora_b = nn.Parameter(torch.zeros(base.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        """Output of the adapted layer."""
        return self.base(x) + x @ self.lora_a.T @ self.lora_b.T


@healthy("H11")
def low_rank(bench: Bench) -> None:
    model = mlp(MLP_3)
    data = digits()
    optimizer = Adam(model.parameters(), 1e-3)
    for x, y in data.batches(bench.generator(), 64, 60):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    for place in (0, 2, 4):
        model[place] = Adapter(model[place])
    digits_run(bench, model, Adam([p for p in model.parameters() if p.requires_grad], 3e-3))


def _gan(bench: Bench, tags: tuple[str, ...]) -> None:
    generator = bench.generator()
    model = nn.ModuleDict({"generator": mlp((8, 64, 64, 2)), "discriminator": mlp((2, 64, 64, 1))})
    of_g = Adam(model["generator"].parameters(), 1e-3, betas=(0.5, 0.99))
    of_d = Adam(model["discriminator"].parameters(), 1e-3, betas=(0.5, 0.99))
    centres = torch.tensor([[math.cos(k), math.sin(k)] for k in torch.arange(8) * math.pi / 4])
    with bench.record(model, [of_d, of_g], tags=tags) as telemetry:
        for _ in range(400):
            picked = torch.randint(8, (128,), generator=generator)
            real = centres[picked] + 0.05 * torch.randn(128, 2, generator=generator)
            fake = model["generator"](torch.randn(128, 8, generator=generator))
            real_out = model["discriminator"](real)
            fake_out = model["discriminator"](fake.detach())
            loss_d = functional.binary_cross_entropy_with_logits(
                real_out, torch.ones_like(real_out)
            ) + functional.binary_cross_entropy_with_logits(fake_out, torch.zeros_like(fake_out))
            of_d.zero_grad()
            loss_d.backward()
            of_d.step()
            out = model["discriminator"](fake)
            loss_g = functional.binary_cross_entropy_with_logits(out, torch.ones_like(out))
            of_g.zero_grad()
            loss_g.backward()
            of_g.step()
            telemetry.step(loss=loss_g, loss_d=loss_d.detach())
            bench.result["loss"] = float(loss_g.detach())


@healthy("H13")
def gan(bench: Bench) -> None:
    _gan(bench, ("gan",))


@healthy("H13x")
def untagged_gan(bench: Bench) -> None:
    _gan(bench, ())


@healthy("H14")
def reinforce(bench: Bench) -> None:
    """A bandit of eight arms whose best arm the context names."""
    generator = bench.generator()
    model = mlp((8, 32, 8))
    optimizer = Adam(model.parameters(), 3e-3)
    with bench.record(model, optimizer, tags=("rl",)) as telemetry:
        for _ in range(300):
            context = torch.eye(8)[torch.randint(8, (64,), generator=generator)]
            logits = model(context).log_softmax(-1)
            action = torch.multinomial(logits.exp().detach(), 1, generator=generator)[:, 0]
            reward = (action == context.argmax(-1)).float()
            chosen = logits[torch.arange(64), action]
            loss = -(chosen * (reward - reward.mean())).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss, reward=reward.mean())
            bench.result |= {"reward": float(reward.mean()), "constant": 1 / 8}


@healthy("H15")
def summed_and_clipped(bench: Bench) -> None:
    model = mlp(MLP_3)
    data = digits()
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(bench.generator(), 64, 400),
        loss_of=lambda out, y: functional.cross_entropy(out, y, reduction="sum"),
        clip=1.0,
        evaluate=evaluation(model, data),
    )
