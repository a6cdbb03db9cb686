"""A plain loop: a small network learns to tell two spirals apart.

Run it with `python examples/mlp.py`, then ask `telemetry show latest`.
"""

import math

import torch
from torch import nn

from telemetry import TelemetryCallback

N_POINTS = 1_000
N_STEPS = 600
BATCH_SIZE = 100


def spirals() -> tuple[torch.Tensor, torch.Tensor]:
    """Points (n, 2) on two noisy spiral arms and the arm (n,) each lies on."""
    arm = torch.arange(N_POINTS) % 2
    radius = torch.rand(N_POINTS).sqrt()
    angle = 2 * math.pi * radius + math.pi * arm
    points = torch.stack([angle.cos(), angle.sin()], dim=1) * radius.unsqueeze(1)
    return 2 * points + 0.05 * torch.randn(N_POINTS, 2), arm


def main() -> None:
    """Train, and name the command that shows the result."""
    torch.manual_seed(0)
    points, arms = spirals()
    model = nn.Sequential(
        nn.Linear(2, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    criterion = nn.CrossEntropyLoss()
    telemetry = TelemetryCallback(model, optimizer, project="examples", name="mlp")

    for _ in range(N_STEPS):
        chosen = torch.randint(N_POINTS, (BATCH_SIZE,))
        loss = criterion(model(points[chosen]), arms[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)

    telemetry.close()
    print(f"loss {loss.item():.3f}; now: telemetry show {telemetry.run}")


if __name__ == "__main__":
    main()
