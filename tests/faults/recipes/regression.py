"""A linear regression of noisy targets by SGD."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]


def train(  # noqa: PLR0913 - the differences
    record: Record,
    *,
    seed: int,
    lr: float = 0.1,
    steps: int = 150,
    n_features: int = 16,
    batch_size: int = 256,
    signal: float = 16.0,
    every: int = 1,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        lr: Learning rate; the curvature is 2 in every direction, so that 0.5 is Newton's step.
        steps: Optimizer steps.
        n_features: Weights to be learned.
        batch_size: Samples of a step.
        signal: Variance of the targets that the features explain; noise has one.
        every: Steps between two samples.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(n_features, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr)
    truth = (signal / n_features) ** 0.5 * torch.randn(n_features, generator=generator)
    with record(model, optimizer, every=every) as telemetry:
        for _ in range(steps):
            inputs = torch.randn(batch_size, n_features, generator=generator)
            targets = inputs @ truth + torch.randn(batch_size, generator=generator)
            loss = functional.mse_loss(model(inputs)[:, 0], targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
