"""Data that stand for those of the sources, and the small parts that loops share."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

N_DIGITS = 1400  # of 1,797, to train with


@dataclass(frozen=True, kw_only=True)
class Data:
    """What a model trains with, and what it is held against."""

    x: Tensor
    y: Tensor
    val_x: Tensor
    val_y: Tensor


@cache
def digits() -> Data:
    """Handwritten digits of 8 x 8 pixels in [0, 1], flat, for the MNIST of a source."""
    bunch = load_digits()
    order = torch.randperm(len(bunch.target), generator=torch.Generator().manual_seed(0))
    x = torch.tensor(bunch.data / 16, dtype=torch.float32)[order]
    y = torch.tensor(bunch.target)[order]
    return Data(x=x[:N_DIGITS], y=y[:N_DIGITS], val_x=x[N_DIGITS:], val_y=y[N_DIGITS:])


def images() -> Data:
    """The same as one channel of 8 x 8."""
    flat = digits()
    return Data(
        x=flat.x.view(-1, 1, 8, 8),
        y=flat.y,
        val_x=flat.val_x.view(-1, 1, 8, 8),
        val_y=flat.val_y,
    )


def cut(x: Tensor, y: Tensor, *, share: float = 0.8) -> Data:
    """The first rows to train with, the rest to be held against."""
    n = int(share * len(x))
    return Data(x=x[:n], y=y[:n], val_x=x[n:], val_y=y[n:])


def blobs(seed: int, *, n: int, features: int, classes: int, spread: float = 1.0) -> Data:
    """Classes around centres of their own, two for each."""
    generator = torch.Generator().manual_seed(seed)
    centres = 1.5 * torch.randn(2 * classes, features, generator=generator)
    which = torch.randint(2 * classes, (n,), generator=generator)
    x = centres[which] + spread * torch.randn(n, features, generator=generator)
    return cut(x, which % classes)


def batches(
    x: Tensor, y: Tensor, size: int, generator: torch.Generator | None
) -> Iterator[tuple[Tensor, Tensor]]:
    """One epoch; without a generator in the order of the rows."""
    n = len(x)
    order = torch.arange(n) if generator is None else torch.randperm(n, generator=generator)
    for rows in order.split(size):
        yield x[rows], y[rows]


def standardised(values: Tensor) -> Tensor:
    """Each column with mean 0 and deviation 1."""
    return (values - values.mean(0)) / values.std(0).clamp_min(1e-8)


@torch.no_grad()
def accuracy(model: nn.Module, x: Tensor, y: Tensor) -> float:
    """Of the largest output, in the mode for evaluation; the mode is as before afterwards."""
    was_training = model.training
    model.eval()
    right = (model(x).argmax(-1) == y).float().mean()
    model.train(was_training)
    return float(right)


@torch.no_grad()
def unexplained(out: Tensor, target: Tensor) -> float:
    """Squared error over the variance of the targets: 1 is what their mean reaches."""
    error = functional.mse_loss(out.reshape(target.shape), target)
    value = float(error / target.var().clamp_min(1e-12))
    return value if math.isfinite(value) else math.inf
