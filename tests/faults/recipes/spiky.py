"""A small regression during which weights are damaged now and then."""

from collections.abc import Callable, Sequence

import torch
from torch import nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]


def train(
    record: Record, *, seed: int, damaged_at: Sequence[int] = (), damage: float = 3.0
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        damaged_at: Steps after which noise is added to the weights.
        damage: Standard deviation of that noise.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    with record(model, optimizer) as telemetry:
        for step in range(300):
            x = torch.randn(64, 8, generator=generator)
            loss = functional.mse_loss(model(x), x[:, :1] + x[:, 1:2])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if step in damaged_at:
                with torch.no_grad():
                    model[2].weight.add_(damage * torch.randn(1, 32, generator=generator))
