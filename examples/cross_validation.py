"""Five folds of two configurations: does the wider network generalise better, or only by luck?

`fold` in the configuration is all that is needed: runs that differ in nothing else are one
configuration. Run it with `python examples/cross_validation.py`, then ask
`telemetry sweep cross-validation --folds`.
"""

import math

import torch
from torch import nn

from telemetry import TelemetryCallback

N_POINTS = 500
N_FOLDS = 5
N_STEPS = 200
STEPS_PER_EVALUATION = 20
BATCH_SIZE = 50
WIDTHS = (4, 32)


def spirals() -> tuple[torch.Tensor, torch.Tensor]:
    """Points (n, 2) on two noisy spiral arms and the arm (n,) each lies on."""
    arm = torch.arange(N_POINTS) % 2
    radius = torch.rand(N_POINTS).sqrt()
    angle = 2 * math.pi * radius + math.pi * arm
    points = torch.stack([angle.cos(), angle.sin()], dim=1) * radius.unsqueeze(1)
    return 2 * points + 0.05 * torch.randn(N_POINTS, 2), arm


def train(
    width: int, fold: int | None, points: torch.Tensor, arms: torch.Tensor, **labels: str
) -> str:
    """Train on all points but those of the fold, or on all; the id of the run."""
    held_out = torch.arange(N_POINTS) % N_FOLDS == (-1 if fold is None else fold)
    chosen = (~held_out).nonzero().squeeze(1)
    model = nn.Sequential(
        nn.Linear(2, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    criterion = nn.CrossEntropyLoss()
    config = {"width": width, "fold": fold, "n_folds": N_FOLDS}
    telemetry = TelemetryCallback(model, optimizer, config=config, **labels)

    for step in range(N_STEPS):
        batch = chosen[torch.randint(len(chosen), (BATCH_SIZE,))]
        loss = criterion(model(points[batch]), arms[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
        if fold is not None and (step + 1) % STEPS_PER_EVALUATION == 0:
            with torch.no_grad():
                val_loss = criterion(model(points[held_out]), arms[held_out])
            telemetry.log(val_loss=val_loss)

    telemetry.close()
    return str(telemetry.run)


def main() -> None:
    """Cross-validate, train the wider network on all points, and name what to look at."""
    torch.manual_seed(0)
    points, arms = spirals()
    for width in WIDTHS:
        for fold in range(N_FOLDS):
            name = f"width-{width}-fold-{fold}"
            train(width, fold, points, arms, project="cross-validation", name=name)
    run = train(WIDTHS[-1], None, points, arms, project="examples", name="cross_validation")
    print(f"now: telemetry show {run}")


if __name__ == "__main__":
    main()
