"""What docs/tutorial.md records: a network for two spirals, without a line of telemetry.

Run it with `telemetry record train.py`; its options make it fail in different ways.
"""

import argparse
import math
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

N_POINTS, N_STEPS, BATCH_SIZE, EVALUATED_EVERY = 900, 120, 100, 10
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid}


def spirals() -> tuple[Tensor, Tensor]:
    """Points (n, 2) on two noisy arms and the arm (n,) of each; always the same."""
    generator = torch.Generator().manual_seed(0)
    arm = torch.arange(N_POINTS) % 2
    radius = torch.rand(N_POINTS, generator=generator).sqrt()
    angle = 2 * math.pi * radius + math.pi * arm
    points = torch.stack([angle.cos(), angle.sin()], dim=1) * radius[:, None]
    return 2 * points + 0.1 * torch.randn(N_POINTS, 2, generator=generator), arm


class Valid:
    """The last third of the points, measured less exactly; also for `telemetry evaluate`."""

    classes = ("first arm", "second arm")

    def __init__(self) -> None:
        points, arms = spirals()
        held_out = slice(2 * N_POINTS // 3, None)
        noise = torch.randn(N_POINTS, 2, generator=torch.Generator().manual_seed(1))
        self.points = points[held_out] + 0.2 * noise[held_out]
        self.arms = arms[held_out]

    def __len__(self) -> int:
        return len(self.arms)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.points[index], int(self.arms[index])


def build(depth: int = 3, activation: str = "relu") -> nn.Module:
    """A network of so many hidden layers."""
    widths = [2, *[32] * depth]
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Linear(inputs, outputs), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers, nn.Linear(32, 2))


def train(model: nn.Module, lr: float) -> None:
    """Some steps; now and then the loss of the points that are held out."""
    points, arms = spirals()
    n_train, valid = 2 * N_POINTS // 3, Valid()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    for step in range(1, N_STEPS + 1):
        chosen = torch.randint(n_train, (BATCH_SIZE,))
        loss = functional.cross_entropy(model(points[chosen]), arms[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % EVALUATED_EVERY == 0:
            with torch.no_grad():
                val_loss = functional.cross_entropy(model(valid.points), valid.arms)
            print(f"step {step}: val_loss={val_loss:.3f}")


def main() -> None:
    """Train once and keep the weights."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--activation", choices=sorted(ACTIVATIONS), default="relu")
    parser.add_argument("--lr", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", type=Path)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    model = build(args.depth, args.activation)
    train(model, args.lr)
    if args.save:
        torch.save(model.state_dict(), args.save)


if __name__ == "__main__":
    main()
