"""A linear regression of noisy targets by SGD, every step of which is sampled."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]


def train(record: Record, *, seed: int, lr: float = 0.1, steps: int = 150) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        lr: Learning rate; the curvature is 2 in every direction, so that 0.5 is Newton's step.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(16, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr)
    truth = torch.randn(16, generator=generator)
    with record(model, optimizer, every=1) as telemetry:
        for _ in range(steps):
            inputs = torch.randn(256, 16, generator=generator)
            targets = inputs @ truth + torch.randn(256, generator=generator)
            loss = functional.mse_loss(model(inputs)[:, 0], targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
