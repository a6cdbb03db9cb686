"""Healthy controls of detectors.md section 3, each chosen to trip a naive rule."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import copy
import math

import torch
from material import (
    Bench,
    ConvNet,
    Data,
    LanguageModel,
    Recurrent,
    Residual,
    accuracy,
    blobs,
    digits,
    evaluation,
    he,
    markov,
    mlp,
    train,
    xavier,
)
from recipe import healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, RMSprop, SparseAdam
from torch.optim.lr_scheduler import CosineAnnealingWarmRestarts, LambdaLR

MLP_3 = (64, 64, 64, 10)


def _digits_run(
    bench: Bench,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int = 400,
    *,
    size: int = 64,
    schedule: torch.optim.lr_scheduler.LRScheduler | None = None,
) -> None:
    data = digits(images=isinstance(model, ConvNet | NormedNet))
    train(
        bench,
        model,
        optimizer,
        data.batches(bench.generator(), size, steps),
        scheduler=schedule,
        evaluate=evaluation(model, data),
    )
    bench.result["accuracy"] = accuracy(model, data)


@healthy("H01")
def plain(bench: Bench) -> None:
    model = mlp(MLP_3)
    _digits_run(bench, model, Adam(model.parameters(), 1e-3))


@healthy("H02")
def deep_default(bench: Bench) -> None:
    model = mlp((64, *[64] * 9, 10))
    _digits_run(bench, model, Adam(model.parameters(), 1e-3), 600)


@healthy("H03a")
def two_sigmoids(bench: Bench) -> None:
    model = mlp(MLP_3, nn.Sigmoid)
    _digits_run(bench, model, Adam(model.parameters(), 3e-3), 600)


@healthy("H03b")
def three_sigmoids(bench: Bench) -> None:
    model = mlp((64, 64, 64, 64, 10), nn.Sigmoid)
    _digits_run(bench, model, Adam(model.parameters(), 3e-3), 600)


@healthy("H04")
def deep_tanh(bench: Bench) -> None:
    model = mlp((64, *[64] * 9, 10), nn.Tanh, start=xavier)
    _digits_run(bench, model, Adam(model.parameters(), 1e-3))


@healthy("H05")
def zero_branches(bench: Bench) -> None:
    model = Residual(12, scale=1e-6)
    for block in model.blocks:
        nn.init.zeros_(block[3].weight)
    _digits_run(bench, model, Adam(model.parameters(), 1e-3))


class NormedNet(nn.Module):
    """Every weight is followed by BatchNorm: its scale does not matter."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 10), nn.BatchNorm1d(10),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.body(x)


@healthy("H06")
def large_steps(bench: Bench) -> None:
    model = NormedNet()
    _digits_run(bench, model, SGD(model.parameters(), 3.0))


@healthy("H07a")
def rmsprop(bench: Bench) -> None:
    model = mlp(MLP_3, start=he)
    _digits_run(bench, model, RMSprop(model.parameters(), 1e-3))


@healthy("H07b")
def sgd(bench: Bench) -> None:
    model = mlp(MLP_3, start=he)
    _digits_run(bench, model, SGD(model.parameters(), 0.2))


@healthy("H08")
def warm_up_and_cosine(bench: Bench) -> None:
    model = mlp(MLP_3)
    optimizer = Adam(model.parameters(), 3e-3)

    def rate(step: int) -> float:
        return step / 80 if step < 80 else 0.5 + 0.5 * math.cos(math.pi * (step - 80) / 320)

    _digits_run(bench, model, optimizer, schedule=LambdaLR(optimizer, rate))


@healthy("H09")
def warm_restarts(bench: Bench) -> None:
    model = mlp(MLP_3)
    optimizer = SGD(model.parameters(), 0.2, momentum=0.9)
    _digits_run(bench, model, optimizer, schedule=CosineAnnealingWarmRestarts(optimizer, 100))


@healthy("H10")
def fine_tuning(bench: Bench) -> None:
    model = mlp(MLP_3)
    data = digits()
    optimizer = Adam(model.parameters(), 1e-3)
    for x, y in data.batches(bench.generator(), 64, 120):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    _digits_run(bench, model, AdamW(model.parameters(), 2e-5), 200)


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
    _digits_run(bench, model, Adam([p for p in model.parameters() if p.requires_grad], 3e-3))


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
            bench.result["loss"] = float(reward.mean())


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


@healthy("H16")
def accumulation(bench: Bench) -> None:
    model = mlp(MLP_3)
    data = digits()
    optimizer = Adam(model.parameters(), 1e-3)
    with bench.record(model, optimizer) as telemetry:
        for micro_step, (x, y) in enumerate(data.batches(bench.generator(), 16, 1600)):
            loss = functional.cross_entropy(model(x), y)
            (loss / 4).backward()
            telemetry.step(loss=loss)
            if micro_step % 4 == 3:
                optimizer.step()
                optimizer.zero_grad()
    bench.result["accuracy"] = accuracy(model, data)


@healthy("H19")
def embeddings(bench: Bench) -> None:
    """Ratings from embeddings of users and items, sparse rows, with padding."""
    generator = bench.generator()

    class Factors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.users = nn.Embedding(2000, 16, padding_idx=0, sparse=True)
            self.items = nn.Embedding(500, 16, padding_idx=0, sparse=True)

        def forward(self, pairs: Tensor) -> Tensor:
            return (self.users(pairs[:, 0]) * self.items(pairs[:, 1])).sum(-1) / 4

    model = Factors()
    user, item = torch.randn(2000, 4, generator=generator), torch.randn(500, 4, generator=generator)
    optimizer = SparseAdam(list(model.parameters()), 0.02)

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(500):
            pairs = torch.stack(
                [torch.randint(n, (256,), generator=generator) for n in (2000, 500)], 1
            )
            yield pairs, (user[pairs[:, 0]] * item[pairs[:, 1]]).sum(-1) / 2

    train(bench, model, optimizer, batches(), loss_of=functional.mse_loss)


@healthy("H20")
def tied_language_model(bench: Bench) -> None:
    tokens = markov(bench.seed, 200, 30_000)
    model = LanguageModel(200, tied=True)
    generator = bench.generator()

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(200):
            starts = torch.randint(len(tokens) - 33, (16,), generator=generator)
            rows = torch.stack([tokens[s : s + 33] for s in starts])
            yield rows[:, :-1], rows[:, 1:]

    train(
        bench,
        model,
        AdamW(model.parameters(), 3e-3),
        batches(),
        loss_of=lambda out, y: functional.cross_entropy(
            out.flatten(0, 1), y.flatten(), label_smoothing=0.1
        ),
    )


@healthy("H21")
def contrastive(bench: Bench) -> None:
    data = digits()
    model = mlp((64, 128, 32), start=he)
    generator = bench.generator()
    optimizer = Adam(model.parameters(), 1e-3)
    with bench.record(model, optimizer) as telemetry:
        for x, _ in data.batches(generator, 64, 300):
            views = [x + 0.3 * torch.randn(x.shape, generator=generator) for _ in range(2)]
            one, two = (functional.normalize(model(view), dim=-1) for view in views)
            loss = functional.cross_entropy(one @ two.T / 0.07, torch.arange(len(x)))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            bench.result["loss"] = float(loss.detach())


class Variational(nn.Module):
    """A small VAE with a Gaussian likelihood whose loss becomes negative."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = mlp((64, 64, 16))
        self.decoder = mlp((8, 64, 64))

    def forward(self, x: Tensor) -> Tensor:
        """Negative evidence bound per sample and dimension."""
        mean, log_var = self.encoder(x).chunk(2, -1)
        z = mean + torch.randn_like(mean) * (0.5 * log_var).exp()
        error = (self.decoder(z) - x).square().mean(-1)
        divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).sum(-1)
        bits = divergence.clamp(min=0.5)  # free bits
        return (0.5 * error / 0.05 - 1.6 * 0.5 + bits / 64).mean()


@healthy("H22")
def variational(bench: Bench) -> None:
    data = digits()
    data = Data(x=0.2 * data.x.clamp(-3, 3), y=data.y, val_x=data.val_x, val_y=data.val_y)
    model = Variational()
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(bench.generator(), 64, 400),
        loss_of=lambda out, _: out,
    )


@healthy("H23")
def imbalanced(bench: Bench) -> None:
    generator = bench.generator()
    x = torch.randn(3000, 16, generator=generator)
    y = (x[:, :4].sum(-1) > 3.3).long()
    data = Data(x=x[:2400], y=y[:2400], val_x=x[2400:], val_y=y[2400:])
    model = mlp((16, 64, 64, 2))
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(generator, 64, 500),
        evaluate=evaluation(model, data),
    )
    bench.result["share"] = float(y.float().mean())


@healthy("H25")
def dropout(bench: Bench) -> None:
    model = nn.Sequential(
        nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5),
        nn.Linear(64, 64), nn.ReLU(), nn.Dropout(0.5), nn.Linear(64, 10),
    )  # fmt: skip
    _digits_run(bench, model, Adam(model.parameters(), 1e-3))


@healthy("H27")
def unshuffled(bench: Bench) -> None:
    data = blobs(bench.seed, n=192, n_val=500)
    model = mlp((20, 32, 2))

    def batches():  # noqa: ANN202 - a generator of batches
        for step in range(300):
            start = 64 * (step % 3)
            yield data.x[start : start + 64], data.y[start : start + 64]

    train(bench, model, SGD(model.parameters(), 0.1), batches())


@healthy("H28")
def autocast(bench: Bench) -> None:
    data = digits()
    model = mlp(MLP_3)
    optimizer = Adam(model.parameters(), 1e-3)
    with bench.record(model, optimizer) as telemetry:
        for x, y in data.batches(bench.generator(), 64, 300):
            with torch.autocast("cpu", torch.bfloat16):
                loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    bench.result["accuracy"] = accuracy(model, data)


@healthy("H29")
def teacher(bench: Bench) -> None:
    """A moving average of the student gives its targets."""
    data = digits()

    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.student = mlp(MLP_3)
            self.teacher = copy.deepcopy(self.student)

        def forward(self, x: Tensor) -> Tensor:
            return self.student(x)

    model = Pair()
    optimizer = Adam(model.student.parameters(), 1e-3)
    with bench.record(model, optimizer) as telemetry:
        for x, y in data.batches(bench.generator(), 64, 300):
            with torch.no_grad():
                soft = model.teacher(x).softmax(-1)
            out = model(x)
            loss = functional.cross_entropy(out, y) + 0.1 * functional.cross_entropy(out, soft)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                pairs = zip(model.student.parameters(), model.teacher.parameters(), strict=True)
                for own, average in pairs:
                    average.lerp_(own, 0.05)
            telemetry.step(loss=loss)
    bench.result["accuracy"] = accuracy(model, data)


@healthy("H30")
def recurrent_language_model(bench: Bench) -> None:
    tokens = markov(bench.seed, 12, 20_000)
    model = Recurrent("LSTM", 12, each=True)
    generator = bench.generator()

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(150):
            starts = torch.randint(len(tokens) - 51, (32,), generator=generator)
            rows = torch.stack([tokens[s : s + 51] for s in starts])
            yield functional.one_hot(rows[:, :-1], 12).float(), rows[:, 1:]

    train(
        bench,
        model,
        Adam(model.parameters(), 1e-2),
        batches(),
        loss_of=lambda out, y: functional.cross_entropy(out.flatten(0, 1), y.flatten()),
    )


@healthy("H32")
def calibration_only(bench: Bench) -> None:
    data = digits()
    model = mlp((64, 128, 128, 10))
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(bench.generator(), 64, 1200),
        evaluate=evaluation(model, data),
        every=50,
    )
    bench.result["accuracy"] = accuracy(model, data)


@healthy("H33")
def batch_of_two(bench: Bench) -> None:
    model = mlp(MLP_3)
    _digits_run(bench, model, Adam(model.parameters(), 1e-3), 800, size=2)


@healthy("H35")
def slow(bench: Bench) -> None:
    model = mlp(MLP_3)
    _digits_run(bench, model, Adam(model.parameters(), 1e-4), 200)
