"""Weight decay and dropout: too much of them, and much that does no harm."""
# A recipe is described by its name and by its row in the table, not by a docstring.
# ruff: noqa: D103

import torch
from material import (
    Bench,
    ConvNet,
    Data,
    LanguageModel,
    Residual,
    digits,
    markov,
    mlp,
    train,
)
from recipe import fault, healthy
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, AdamW, Optimizer

MLP_3 = (64, 64, 64, 10)


def _classify(
    bench: Bench, model: nn.Module, optimizer: Optimizer, *, steps: int = 400, size: int = 64
) -> None:
    data = digits(images=isinstance(model, ConvNet))
    train(bench, model, optimizer, data.batches(bench.generator(), size, steps))
    bench.score(model, data)


def _dropping(share: float, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for n_in in (64, width):
        layers += [nn.Linear(n_in, width), nn.ReLU(), nn.Dropout(share)]
    return nn.Sequential(*layers, nn.Linear(width, 10))


@fault("F45", "over_regularized", by=200)
def sgd_decay(bench: Bench) -> None:
    """Costs 16 points; the weights are not quite halved."""
    model = mlp(MLP_3)
    _classify(
        bench, model, SGD(model.parameters(), 0.1, weight_decay=bench.fault(0.1, without=0.0))
    )


@fault("F45b", "over_regularized", by=200)
def vanishing_weights(bench: Bench) -> None:
    model = mlp(MLP_3)
    _classify(
        bench, model, SGD(model.parameters(), 0.1, weight_decay=bench.fault(1.0, without=0.0))
    )


@fault("F45c", "over_regularized", by=200)
def penalty_in_the_loss(bench: Bench) -> None:
    """A sum of magnitudes a hundred times too heavy; no weight decay."""
    model, data = mlp(MLP_3), digits()

    def loss_of(out: Tensor, y: Tensor) -> Tensor:
        penalty = sum(parameter.abs().sum() for parameter in model.parameters())
        return functional.cross_entropy(out, y) + bench.fault(0.01, without=0.0) * penalty

    batches = data.batches(bench.generator(), 64, 400)
    train(bench, model, Adam(model.parameters(), 1e-3), batches, loss_of=loss_of)
    bench.score(model, data)


@fault("F46", "over_regularized", by=200)
def adamw_decay(bench: Bench) -> None:
    """A decay of 10 costs this network two points only."""
    model = Residual(4)
    _classify(
        bench, model, AdamW(model.parameters(), 1e-3, weight_decay=bench.fault(30.0, without=0.01))
    )


@fault("F46b", "over_regularized", by=200)
def language_model_decay(bench: Bench) -> None:
    windows = markov(bench.seed, 30, 20_000).unfold(0, 25, 12)
    data = Data(x=windows[:, :-1], y=windows[:, 1:], val_x=windows, val_y=windows)
    model = LanguageModel(30)
    train(
        bench,
        model,
        AdamW(model.parameters(), 3e-3, weight_decay=bench.fault(10.0, without=0.01)),
        data.batches(bench.generator(), 32, 300),
        loss_of=lambda out, y: functional.cross_entropy(out.flatten(0, 1), y.flatten()),
    )


@fault("F47", "over_regularized", by=200, layers=("2", "5"))
def nothing_left(bench: Bench) -> None:
    model = _dropping(bench.fault(0.95, without=0.0), 64)
    _classify(bench, model, Adam(model.parameters(), 1e-3))


@healthy("R10")
def ridge(bench: Bench) -> None:
    """Four fifths of the target is noise; full batches, and weights that begin too large.

    In the end decay and gradient cancel: their ratio is one.
    """
    generator = bench.generator()
    x = torch.randn(200, 20, generator=generator)
    y = x[:, :1] + 2 * torch.randn(200, 1, generator=generator)
    model = nn.Linear(20, 1)
    nn.init.normal_(model.weight, 0.0, 0.6)
    data = Data(x=x, y=y, val_x=x, val_y=y)
    optimizer = SGD(model.parameters(), 0.05, weight_decay=0.3)
    train(
        bench, model, optimizer, data.batches(generator, 200, 400), loss_of=functional.mse_loss
    )  # fmt: skip


@healthy("R11")
def balance(bench: Bench) -> None:
    """Full batches until decay and gradient are in balance."""
    model = mlp(MLP_3)
    optimizer = SGD(model.parameters(), 0.2, weight_decay=5e-3)
    _classify(bench, model, optimizer, steps=1000, size=1400)


@healthy("R12")
def normalised(bench: Bench) -> None:
    """Weights before BatchNorm shrink under a decay of 0.01, and it does not matter."""
    model = ConvNet(norm=True)
    optimizer = SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.01)
    _classify(bench, model, optimizer)


@healthy("R13")
def strong_decay(bench: Bench) -> None:
    """Half as strong as the gradient, and no harm."""
    model = Residual(4)
    _classify(bench, model, AdamW(model.parameters(), 1e-3, weight_decay=1.0))


@healthy("R14")
def wide_dropout(bench: Bench) -> None:
    """Of 1,024 units a fifth is enough."""
    model = _dropping(0.8, 1024)
    _classify(bench, model, Adam(model.parameters(), 1e-3), steps=200)
