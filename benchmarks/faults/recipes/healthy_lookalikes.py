"""Healthy controls H16 to H35 of the table: each trips a naive rule."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import copy

import torch
from material import (
    Bench,
    Data,
    LanguageModel,
    Recurrent,
    blobs,
    digits,
    evaluation,
    he,
    markov,
    mlp,
    train,
)
from recipe import healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, SparseAdam

from recipes.healthy_digits import MLP_3, digits_run


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
    bench.score(model, data)


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
    digits_run(bench, model, Adam(model.parameters(), 1e-3))


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
    bench.score(model, data)


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
    bench.score(model, data)


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
    bench.score(model, data)


@healthy("H33")
def batch_of_two(bench: Bench) -> None:
    model = mlp(MLP_3)
    digits_run(bench, model, Adam(model.parameters(), 1e-3), 800, size=2)


@healthy("H35")
def slow(bench: Bench) -> None:
    model = mlp(MLP_3)
    digits_run(bench, model, Adam(model.parameters(), 1e-4), 200)
