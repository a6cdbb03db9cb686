"""Further healthy controls: optimizers, regressions and their losses."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import (
    Bench,
    he,
    mlp,
    train,
)
from recipe import healthy
from torch import nn
from torch.nn import functional
from torch.optim import (
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    AdamW,
    NAdam,
    RMSprop,
)

from recipes.healthy_networks import MLP_3, ConvResidual, Vision, classify


@healthy("X01")
def logistic(bench: Bench) -> None:
    model = nn.Linear(64, 10)
    classify(bench, model, SGD(model.parameters(), 0.1))


@healthy("X02")
def small_resnet(bench: Bench) -> None:
    model = ConvResidual()
    classify(bench, model, SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=5e-4), 150)


@healthy("X03")
def vision_transformer(bench: Bench) -> None:
    model = Vision()
    classify(bench, model, AdamW(model.parameters(), 1e-3), 250)


def _optimizers(name: str) -> None:
    made = {
        "adagrad": lambda p: Adagrad(p, 0.02),
        "adadelta": lambda p: Adadelta(p, 1.0),
        "nadam": lambda p: NAdam(p, 2e-3),
        "nesterov": lambda p: SGD(p, 0.1, momentum=0.9, nesterov=True),
        "sgd1": lambda p: SGD(p, 0.5),
        "adam3e-2": lambda p: Adam(p, 1e-2),
        "rmsprop": lambda p: RMSprop(p, 1e-3, momentum=0.9),
        "decay": lambda p: AdamW(p, 3e-3, weight_decay=0.1),
        "slow": lambda p: SGD(p, 0.005),
    }

    @healthy(f"X04-{name}")
    def run(bench: Bench) -> None:
        model = mlp(MLP_3, start=he)
        classify(bench, model, made[name](model.parameters()))


for _name in (
    "adagrad", "adadelta", "nadam", "nesterov", "sgd1", "adam3e-2", "rmsprop", "decay", "slow",
):  # fmt: skip
    _optimizers(_name)


def _regress(  # noqa: PLR0913 - the parts of a regression
    bench: Bench,
    *,
    noise: float = 0.1,
    mean: float = 0.0,
    spread: float = 1.0,
    rate: float = 1e-3,
    steps: int = 400,
    size: int = 64,
    loss: object = functional.mse_loss,
) -> None:
    generator = bench.generator()
    x = torch.randn(2000, 10, generator=generator)
    w = torch.randn(10, 8, generator=generator) / 3
    y = torch.tanh(x @ w).sum(-1, keepdim=True)
    y = mean + spread * (y / y.std() + noise * torch.randn(y.shape, generator=generator))
    model = mlp((10, 64, 64, 1))

    def batches():  # noqa: ANN202 - a generator of batches
        for _ in range(steps):
            picked = torch.randint(2000, (size,), generator=generator)
            yield x[picked], y[picked]

    train(
        bench,
        model,
        Adam(model.parameters(), rate),
        batches(),
        loss_of=loss,  # type: ignore[arg-type]
    )


@healthy("X05")
def regression(bench: Bench) -> None:
    _regress(bench)


@healthy("X06")
def noisy_regression(bench: Bench) -> None:
    _regress(bench, noise=2.0, steps=800)


@healthy("X07")
def uncentred_regression(bench: Bench) -> None:
    _regress(bench, mean=10.0, rate=3e-3)


@healthy("X08")
def house_prices(bench: Bench) -> None:
    _regress(bench, mean=200.0, spread=80.0, rate=1e-2, steps=600)


@healthy("X09")
def absolute_error(bench: Bench) -> None:
    _regress(bench, loss=functional.l1_loss)


@healthy("X10")
def smooth_error(bench: Bench) -> None:
    _regress(bench, loss=functional.smooth_l1_loss)


@healthy("X11")
def summed_error(bench: Bench) -> None:
    _regress(bench, loss=lambda out, y: ((out - y) ** 2).sum())


@healthy("X12")
def own_error(bench: Bench) -> None:
    _regress(bench, loss=lambda out, y: 0.5 * ((out - y) ** 2).mean())


@healthy("X13")
def one_sample(bench: Bench) -> None:
    _regress(bench, size=1, steps=1500)
