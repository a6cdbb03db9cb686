"""What the gate of this folder trains: one small network with several seeds, quickly.

`gate.sh` runs it for a change, `baseline.sh` for the main branch.
"""

import argparse

import torch
from torch import nn

from telemetry import TelemetryCallback

N_POINTS, N_STEPS, BATCH_SIZE, EVALUATED_EVERY = 1_200, 200, 50, 10
INNER, OUTER = 1.5, 3.0  # radii of the ring


def rings() -> tuple[torch.Tensor, torch.Tensor]:
    """Points (n, 2) and whether each lies in a ring (n,); the same for every seed."""
    generator = torch.Generator().manual_seed(0)
    points = 2 * torch.randn(N_POINTS, 2, generator=generator)
    radius = points.norm(dim=1) + 0.3 * torch.randn(N_POINTS, generator=generator)
    return points, ((radius > INNER) & (radius < OUTER)).long()


def train(seed: int, tag: str, weight_decay: float) -> None:
    """One run; points of the first third are for evaluation."""
    torch.manual_seed(seed)
    points, labels = rings()
    held_out = N_POINTS // 3
    hidden = (nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU())
    model = nn.Sequential(*hidden, nn.Linear(32, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=weight_decay)
    criterion = nn.CrossEntropyLoss()
    telemetry = TelemetryCallback(
        model,
        optimizer,
        project="ci",
        name=f"{tag}-{seed}",
        tags=(tag,),
        config={"seed": seed, "weight_decay": weight_decay},
    )
    for step in range(N_STEPS):
        chosen = torch.randint(held_out, N_POINTS, (BATCH_SIZE,))
        loss = criterion(model(points[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
        if step % EVALUATED_EVERY == EVALUATED_EVERY - 1:
            with torch.no_grad():
                val_loss = criterion(model(points[:held_out]), labels[:held_out])
            telemetry.log(val_loss=val_loss)
    telemetry.close()


def main() -> None:
    """Train every seed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tag", required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--weight-decay", type=float, default=0.01)
    options = parser.parse_args()
    for seed in options.seeds:
        train(seed, options.tag, options.weight_decay)


if __name__ == "__main__":
    main()
