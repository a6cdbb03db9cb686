"""Four micro-batches make one optimizer step, and the gradient is clipped.

What is recorded per step is the complete gradient, before and after clipping. Run it with
`python examples/accumulation.py`, then ask
`telemetry query --run latest "select step, grad_norm_total, clip_coefficient from steps"`.
"""

import torch
from torch import Tensor, nn

from telemetry import TelemetryCallback

N_STEPS = 300
N_MICRO_BATCHES = 4
MICRO_BATCH_SIZE = 16
N_FEATURES = 20
MAX_GRAD_NORM = 0.5


def batch(weights: Tensor) -> tuple[Tensor, Tensor]:
    """Features (batch, n_features) and a smooth non-linear target (batch, 1) of them."""
    features = torch.randn(MICRO_BATCH_SIZE, N_FEATURES)
    return features, torch.sin(features @ weights) + 0.1 * torch.randn(MICRO_BATCH_SIZE, 1)


def main() -> None:
    """Train, and name the command that shows the clipping."""
    torch.manual_seed(0)
    weights = torch.randn(N_FEATURES, 1) / N_FEATURES**0.5
    model = nn.Sequential(nn.Linear(N_FEATURES, 64), nn.Tanh(), nn.Linear(64, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    with TelemetryCallback(model, optimizer, project="examples", name="accumulation") as telemetry:
        for _ in range(N_STEPS):
            optimizer.zero_grad()
            mean_loss = torch.zeros(())
            for _ in range(N_MICRO_BATCHES):
                features, target = batch(weights)
                loss = nn.functional.mse_loss(model(features), target) / N_MICRO_BATCHES
                loss.backward()
                mean_loss += loss.detach()
            torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)
            optimizer.step()
            telemetry.step(loss=mean_loss)

    print(f"loss {mean_loss.item():.3f}; now: telemetry show {telemetry.run}")


if __name__ == "__main__":
    main()
