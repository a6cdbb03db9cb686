"""Learning rates that are too low, and small steps that are right."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import (
    Bench,
    ConvNet,
    Data,
    LanguageModel,
    Loss,
    Recurrent,
    digits,
    markov,
    mlp,
    train,
)
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler

MLP_3 = (64, 64, 64, 10)


def _classify(
    bench: Bench,
    model: nn.Module,
    optimizer: Optimizer,
    *,
    steps: int = 300,
    loss_of: Loss = functional.cross_entropy,
    clip: float | None = None,
    scheduler: LRScheduler | None = None,
) -> None:
    data = digits(images=isinstance(model, ConvNet))
    batches = data.batches(bench.generator(), 64, steps)
    train(
        bench, model, optimizer, batches, loss_of=loss_of, clip=clip, scheduler=scheduler
    )  # fmt: skip
    bench.score(model, data)


@fault("F16", "learning_rate_too_low", by=300)
def adam_low(bench: Bench) -> None:
    model = mlp(MLP_3)
    _classify(bench, model, Adam(model.parameters(), bench.fault(1e-6, without=1e-3)))


@fault("F16b", "clip_saturation", "learning_rate_too_low", by=300)
def clipped_away(bench: Bench) -> None:
    """A usual rate, and gradients clipped to a ten-thousandth."""
    model = mlp(MLP_3)
    _classify(bench, model, SGD(model.parameters(), 0.1), clip=bench.fault(1e-4, without=None))


@fault("F17", "learning_rate_too_low", by=300)
def sgd_low(bench: Bench) -> None:
    model = ConvNet()
    _classify(bench, model, SGD(model.parameters(), bench.fault(1e-5, without=0.05)))


@fault("F17b", "learning_rate_too_low", by=200)
def language_model_low(bench: Bench) -> None:
    windows = markov(bench.seed, 30, 20_000).unfold(0, 25, 12)
    data = Data(x=windows[:, :-1], y=windows[:, 1:], val_x=windows, val_y=windows)
    model = LanguageModel(30)
    train(
        bench,
        model,
        AdamW(model.parameters(), bench.fault(1e-6, without=3e-3)),
        data.batches(bench.generator(), 32, 200),
        loss_of=lambda out, y: functional.cross_entropy(out.flatten(0, 1), y.flatten()),
    )


@fault("F18", "learning_rate_too_low", by=300)
def lstm_low(bench: Bench) -> None:
    generator = bench.generator()
    model = Recurrent("LSTM", 8)

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(300):
            tokens = torch.randint(8, (32, 8), generator=generator)
            yield functional.one_hot(tokens, 8).float(), tokens[:, 0]

    train(bench, model, Adam(model.parameters(), bench.fault(1e-7, without=1e-2)), batches())


def _trained(steps: int) -> nn.Sequential:
    model, data = mlp(MLP_3), digits()
    optimizer = Adam(model.parameters(), 1e-3)
    for x, y in data.batches(torch.Generator().manual_seed(5), 64, steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(x), y).backward()
        optimizer.step()
    return model


@healthy("R01")
def new_head(bench: Bench) -> None:
    """A fresh head on a trained body, all of it at 2e-5."""
    model = _trained(300)
    model[4] = nn.Linear(64, 10)
    _classify(bench, model, AdamW(model.parameters(), 2e-5))


@healthy("R02")
def own_loss(bench: Bench) -> None:
    """Fine-tuning at 2e-5 by a loss whose level is not known."""
    model = _trained(60)

    def loss_of(out: Tensor, y: Tensor) -> Tensor:
        return -out.log_softmax(-1).gather(1, y[:, None]).mean()

    _classify(bench, model, AdamW(model.parameters(), 2e-5), loss_of=loss_of)


@healthy("R03")
def polished(bench: Bench) -> None:
    """A converged model is trained on at 1e-6."""
    model = _trained(300)
    _classify(bench, model, AdamW(model.parameters(), 1e-6))


@healthy("R04")
def cut_off_in_warm_up(bench: Bench) -> None:
    """250 of 2,000 steps of warm-up from zero."""
    model = mlp(MLP_3)
    optimizer = AdamW(model.parameters(), 3e-3)
    warm_up = LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / 2000))
    _classify(bench, model, optimizer, steps=250, scheduler=warm_up)


@healthy("R05")
def private(bench: Bench) -> None:
    """Clipped gradients with noise as large as they are."""
    model, data = mlp((64, 64, 10)), digits()
    optimizer = SGD(model.parameters(), 0.05)
    generator = bench.generator()
    with bench.record(model, optimizer) as telemetry:
        for x, y in data.batches(generator, 64, 400):
            loss = functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for parameter in model.parameters():
                parameter.grad += 0.02 * torch.randn(parameter.shape, generator=generator)
            optimizer.step()
            telemetry.step(loss=loss)
    bench.score(model, data)


@healthy("R06")
def head_of_a_frozen_body(bench: Bench) -> None:
    """The body is in the optimizer at 1e-7, the fresh head at a usual rate."""
    model = _trained(300)
    model[4] = nn.Linear(64, 10)
    groups = [
        {"params": [*model[0].parameters(), *model[2].parameters()], "lr": 1e-7},
        {"params": model[4].parameters(), "lr": 1e-3},
    ]
    _classify(bench, model, Adam(groups))
