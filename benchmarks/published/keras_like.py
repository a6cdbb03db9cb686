"""Compile and fit, for sources that are written with Keras; its losses take probabilities."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import SGD, Adam, Optimizer, RMSprop

from published.case import Recorder, Trial
from published.material import batches

TINY = 1e-7

Loss = Callable[[Tensor, Tensor], Tensor]


def dense(n_in: int, n_out: int, start: str = "glorot") -> nn.Linear:
    """A layer as Keras starts it: `glorot`, `uniform` of 0.05, `normal` of 0.05, `unit` normal."""
    layer = nn.Linear(n_in, n_out)
    nn.init.zeros_(layer.bias)
    if start == "glorot":
        nn.init.xavier_uniform_(layer.weight)
    elif start == "uniform":
        nn.init.uniform_(layer.weight, -0.05, 0.05)
    elif start == "normal":
        nn.init.normal_(layer.weight, std=0.05)
    else:
        nn.init.normal_(layer.weight)
        nn.init.normal_(layer.bias)
    return layer


def adam(model: nn.Module, rate: float = 1e-3) -> Adam:
    """With Keras' epsilon."""
    return Adam(model.parameters(), lr=rate, eps=TINY)


def rmsprop(model: nn.Module, rate: float = 1e-3) -> RMSprop:
    """With Keras' decay of the squares."""
    return RMSprop(model.parameters(), lr=rate, alpha=0.9, eps=TINY)


def nesterov(model: nn.Module, rate: float, momentum: float = 0.9) -> SGD:
    """Descent with Nesterov's momentum."""
    return SGD(model.parameters(), lr=rate, momentum=momentum, nesterov=True)


def binary_crossentropy(out: Tensor, target: Tensor) -> Tensor:
    """Of probabilities, which are clipped."""
    shares = out.reshape(target.shape).clamp(TINY, 1 - TINY)
    return -(target * shares.log() + (1 - target) * (1 - shares).log()).mean()


def categorical_crossentropy(out: Tensor, target: Tensor) -> Tensor:
    """Of outputs that are divided by their sum and clipped; targets are one-hot."""
    shares = (out / out.sum(-1, keepdim=True)).clamp(TINY, 1 - TINY)
    return -(target * shares.log()).sum(-1).mean()


def mean_squared_error(out: Tensor, target: Tensor) -> Tensor:
    """Of outputs with the shape of the targets."""
    return functional.mse_loss(out.reshape(target.shape), target)


def mean_absolute_error(out: Tensor, target: Tensor) -> Tensor:
    """Of outputs with the shape of the targets."""
    return functional.l1_loss(out.reshape(target.shape), target)


@dataclass(kw_only=True)
class Compiled:
    """A model with its optimizer and its loss."""

    trial: Trial
    model: nn.Module
    optimizer: Optimizer
    loss_of: Loss

    def fit(
        self,
        x: Tensor,
        y: Tensor,
        *,
        epochs: int,
        batch_size: int = 32,
        shuffle: bool = True,
        validation_data: tuple[Tensor, Tensor] | None = None,
    ) -> None:
        """Train so many epochs, and evaluate after each."""
        telemetry = self.trial.record(self.model, self.optimizer)
        for _ in range(epochs):
            self.model.train()
            order = self.trial.generator if shuffle else None
            for inputs, targets in batches(x, y, batch_size, order):
                loss = self.loss_of(self.model(inputs), targets)
                self.optimizer.zero_grad()
                loss.backward()
                self.optimizer.step()
                telemetry.step(loss=loss)
            if validation_data is not None:
                self._evaluate(telemetry, *validation_data)

    @torch.no_grad()
    def _evaluate(self, telemetry: Recorder, x: Tensor, y: Tensor) -> None:
        self.model.eval()
        telemetry.log(val_loss=self.loss_of(self.model(x), y))

    @torch.no_grad()
    def predict(self, x: Tensor) -> Tensor:
        """Outputs in the mode for evaluation."""
        self.model.eval()
        out: Tensor = self.model(x)
        return out
