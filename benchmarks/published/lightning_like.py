"""Modules with their steps, and a trainer that owns the loop, as Lightning has them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from published.case import Recorder, Trial

Batch = tuple[Tensor, Tensor]


class LightningLike(nn.Module, ABC):
    """What a user fills in."""

    @abstractmethod
    def training_step(self, batch: Batch) -> Tensor:
        """The loss of a batch."""

    @abstractmethod
    def validation_step(self, batch: Batch) -> dict[str, Tensor]:
        """Metrics of the set for validation."""

    @abstractmethod
    def configure_optimizers(self) -> Optimizer:
        """Made once, before the first step."""


def fit(
    trial: Trial,
    module: LightningLike,
    train: Callable[[], Iterable[Batch]],
    validation: Batch,
    *,
    max_epochs: int,
) -> None:
    """Train, and validate after each epoch."""
    optimizer = module.configure_optimizers()
    telemetry = trial.record(module, optimizer)
    for _ in range(max_epochs):
        module.train()
        for batch in train():
            loss = module.training_step(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
        _validate(module, telemetry, validation)


@torch.no_grad()
def _validate(module: LightningLike, telemetry: Recorder, batch: Batch) -> None:
    module.eval()
    telemetry.log(**module.validation_step(batch))
