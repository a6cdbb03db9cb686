"""Models and losses that several healthy controls share."""
# ruff: noqa: D103

import torch
from material import (
    Bench,
    ConvNet,
    digits,
    evaluation,
    train,
)
from torch import Tensor, nn

MLP_3 = (64, 64, 64, 10)


def digits_run(
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
    bench.score(model, data)


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
