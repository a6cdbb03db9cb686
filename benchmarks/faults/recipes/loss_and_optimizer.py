"""Faults around the loss function and the optimizer, and controls that look like them."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import (
    Bench,
    Data,
    LanguageModel,
    Loss,
    blobs,
    digits,
    markov,
    mlp,
    train,
)
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Adam, AdamW

MLP_3 = (64, 64, 64, 10)


def _digits_run(
    bench: Bench, model: nn.Module, loss_of: Loss = functional.cross_entropy, steps: int = 300
) -> None:
    data = digits()
    optimizer = Adam(model.parameters(), 1e-3)
    train(bench, model, optimizer, data.batches(bench.generator(), 64, steps), loss_of=loss_of)
    bench.score(model, data)


@fault("F24", "softmax_into_cross_entropy", by=20, layers=("3",))
def softmax_twice(bench: Bench) -> None:
    data = blobs(bench.seed, n=3000, n_val=1000, features=20, classes=20)
    last = bench.fault(nn.Softmax(-1), without=nn.Identity())
    model = nn.Sequential(*mlp((20, 64, 20)), last)
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        data.batches(bench.generator(), 64, 300),
    )
    bench.score(model, data)


@fault("F25", "softmax_into_cross_entropy", by=20)
def raw_logits(bench: Bench) -> None:
    _digits_run(
        bench, mlp(MLP_3), bench.fault(functional.nll_loss, without=functional.cross_entropy)
    )


@healthy("L01")
def distilled(bench: Bench) -> None:
    """Probabilities of a teacher as soft targets, and log-probabilities of its own into nll."""
    data = digits()
    teacher = mlp(MLP_3)
    student = nn.Sequential(*mlp(MLP_3), nn.LogSoftmax(-1))
    inner = Adam(teacher.parameters(), 1e-3)
    for x, y in data.batches(bench.generator(), 64, 300):
        inner.zero_grad()
        functional.cross_entropy(teacher(x), y).backward()
        inner.step()

    def loss_of(out: Tensor, both: tuple[Tensor, Tensor]) -> Tensor:
        soft, y = both
        return functional.nll_loss(out, y) + functional.cross_entropy(out, soft)

    def batches():  # noqa: ANN202 - a generator of batches
        for x, y in data.batches(bench.generator(), 64, 300):
            yield x, (teacher(x).softmax(-1).detach(), y)

    train(bench, student, Adam(student.parameters(), 1e-3), batches(), loss_of=loss_of)
    bench.score(student, data)


def _noisy_digits(bench: Bench, weight: Tensor | None) -> None:
    """Digits under noise of three times their spread: a hard task, half of it learnable."""
    data = digits()
    generator = bench.generator()

    def batches():  # noqa: ANN202 - a generator of batches
        for x, y in data.batches(generator, 64, 300):
            yield x + 3 * torch.randn(x.shape, generator=generator), y

    model = mlp(MLP_3)
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        batches(),
        loss_of=lambda out, y: functional.cross_entropy(out, y, weight=weight),
    )
    bench.score(model, data)


@fault("F50", "class_collapse", by=200)
def one_class_counts(bench: Bench) -> None:
    _noisy_digits(bench, bench.fault(torch.tensor([300.0] + [1.0] * 9), without=None))


@healthy("L02")
def classes_count_alike(bench: Bench) -> None:
    _noisy_digits(bench, None)


@healthy("L03")
def rare_clicks(bench: Bench) -> None:
    """A quarter of the labels is positive and inputs tell a little: `no` is the best answer."""
    generator = bench.generator()

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(400):
            x = torch.randn(128, 16, generator=generator)
            chance = torch.sigmoid(-1.4 + 0.6 * x[:, 0] + 0.4 * x[:, 1])
            yield x, (torch.rand(128, generator=generator) < chance).float()

    model = mlp((16, 32, 1))
    train(
        bench,
        model,
        Adam(model.parameters(), 3e-3),
        batches(),
        loss_of=lambda out, y: functional.binary_cross_entropy_with_logits(out[:, 0], y),
    )


@fault("F32", "epsilon_domination", by=60)
def large_epsilon(bench: Bench) -> None:
    data = digits()
    model = mlp(MLP_3)
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3, eps=bench.fault(0.1, without=1e-8)),
        data.batches(bench.generator(), 64, 300),
        loss_of=lambda out, y: 1e-3 * functional.cross_entropy(out, y),
    )
    bench.score(model, data)


@fault("F33", "epsilon_domination", "loss_multiplier", by=60)
def divided_too_often(bench: Bench) -> None:
    data = digits()
    model = mlp((64, 32, 8, 32, 64))
    train(
        bench,
        model,
        Adam(model.parameters(), 1e-3),
        ((x, x) for x, _ in data.batches(bench.generator(), 64, 300)),
        loss_of=lambda out, y: bench.fault(1e-8, without=1.0) * functional.mse_loss(out, y),
    )
    with torch.no_grad():
        bench.result["error"] = float(functional.mse_loss(model(data.val_x), data.val_x))


@healthy("L04")
def epsilon_on_purpose(bench: Bench) -> None:
    data = digits()
    model = mlp(MLP_3)
    optimizer = Adam(model.parameters(), 1e-3, eps=1e-3)
    train(bench, model, optimizer, data.batches(bench.generator(), 64, 300))
    bench.score(model, data)


@healthy("L05")
def memorised_with_adam(bench: Bench) -> None:
    """Few samples, learned by heart: in the end most gradients are far below epsilon."""
    data = digits()
    model = mlp(MLP_3)
    few = Data(x=data.x[:64], y=data.y[:64], val_x=data.val_x, val_y=data.val_y)
    telemetry = bench.record(
        model, optimizer := Adam(model.parameters(), 1e-2), tags=("overfit-one-batch",)
    )
    batches = few.batches(bench.generator(), 64, 1500)
    train(bench, model, optimizer, batches, callback=telemetry)


@healthy("L06")
def rare_tokens(bench: Bench) -> None:
    """Tokens that come for the first time after 300 steps, in an embedding and a head."""
    generator = bench.generator()
    tokens = markov(bench.seed, 200, 20_000)
    model = LanguageModel(200, 32, 1)

    def batches():  # noqa: ANN202 - a generator of batches
        for step in range(500):
            starts = torch.randint(len(tokens) - 17, (16,), generator=generator)
            rows = torch.stack([tokens[s : s + 17] for s in starts])
            rows = rows if step >= 300 else rows % 150
            yield rows[:, :-1], rows[:, 1:]

    train(
        bench,
        model,
        AdamW(model.parameters(), 2e-3),
        batches(),
        loss_of=lambda out, y: functional.cross_entropy(out.flatten(0, 1), y.flatten()),
    )


@healthy("L07")
def moments_begin_anew(bench: Bench) -> None:
    """The optimizer's state is dropped on purpose with a restart of the learning rate."""
    data = digits()
    model = mlp(MLP_3)
    optimizer = Adam(model.parameters(), 1e-3)

    def drop(step: int) -> None:
        if step == 200:
            optimizer.state.clear()

    batches = data.batches(bench.generator(), 64, 400)
    train(bench, model, optimizer, batches, before_step=drop)
    bench.score(model, data)
