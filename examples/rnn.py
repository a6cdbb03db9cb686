"""A recurrent network forecasts the next value of noisy waves.

Run it with `python examples/rnn.py`, then ask `telemetry show latest`.
"""

import math

import torch
from torch import Tensor, nn

from telemetry import TelemetryCallback

N_STEPS = 300
LENGTH = 40
BATCH_SIZE = 32


class Forecaster(nn.Module):
    """A GRU and a linear readout of its state at every time step."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        self.recurrent = nn.GRU(1, width, batch_first=True)
        self.readout = nn.Linear(width, 1)

    def forward(self, series: Tensor) -> Tensor:
        """The next value at each time step, shape (batch, time, 1) like the input."""
        states, _ = self.recurrent(series)
        return self.readout(states)


def waves() -> Tensor:
    """Noisy sines of random frequency and phase, shape (batch, time + 1, 1)."""
    frequency = 0.1 + 0.4 * torch.rand(BATCH_SIZE, 1)
    phase = 2 * math.pi * torch.rand(BATCH_SIZE, 1)
    series = torch.sin(frequency * torch.arange(LENGTH + 1) + phase)
    return (series + 0.05 * torch.randn_like(series)).unsqueeze(2)


def main() -> None:
    """Train, and name the command that shows the result."""
    torch.manual_seed(0)
    model = Forecaster()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    with TelemetryCallback(model, optimizer, project="examples", name="rnn") as telemetry:
        for _ in range(N_STEPS):
            series = waves()
            loss = nn.functional.mse_loss(model(series[:, :-1]), series[:, 1:])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)

    print(f"loss {loss.item():.4f}; now: telemetry show {telemetry.run}")


if __name__ == "__main__":
    main()
