"""Which learning rate? Cross-validate two, take the better one, and train it on all examples.

A fifth is in no fold, so that how good the better one is there is no matter of choice. The folds
are runs: run it with `python examples/choosing.py`, then ask `telemetry cv compare latest`.
"""

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from torch import nn

from telemetry import TelemetryCallback, explain

N_POINTS = 500
N_STEPS = 200
BATCH_SIZE = 50
RATES = [1e-4, 1e-2]
ARMS = torch.arange(N_POINTS) % 2  # the arm of the spiral that each point lies on


def spirals() -> torch.Tensor:
    """Points (n, 2) on two noisy spiral arms; the same at each call."""
    generator = torch.Generator().manual_seed(0)
    radius = torch.rand(N_POINTS, generator=generator).sqrt()
    angle = 2 * math.pi * radius + math.pi * ARMS
    points = torch.stack([angle.cos(), angle.sin()], dim=1) * radius.unsqueeze(1)
    return 2 * points + 0.05 * torch.randn(N_POINTS, 2, generator=generator)


def fit(lr: float, chosen: torch.Tensor, callback: Callable[..., TelemetryCallback]) -> nn.Module:
    """A net trained on some of the points; `callback` makes the run."""
    model = nn.Sequential(
        nn.Linear(2, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2)
    )
    points = spirals()
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    with callback(model, optimizer) as telemetry:
        for _ in range(N_STEPS):
            batch = chosen[torch.randint(len(chosen), (BATCH_SIZE,))]
            loss = nn.functional.cross_entropy(model(points[batch]), ARMS[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    return model


def train_and_score(
    params: dict[str, float],
    train_idx: np.ndarray,
    test_idx: np.ndarray,
    seed: int,
    callback: explain.FoldCallback,
) -> dict[str, float]:
    """Train on a fold's examples; the score on the others."""
    torch.manual_seed(seed)
    model = fit(params["lr"], torch.from_numpy(train_idx), callback)
    with torch.no_grad():
        answers = model(spirals()[test_idx]).argmax(dim=1)
    return {"accuracy": (answers == ARMS[test_idx]).float().mean().item()}


def main() -> None:
    """Cross-validate, and train the better configuration on all points."""
    grid = {"lr": RATES}
    found = explain.cross_validate(train_and_score, grid, labels=ARMS, repeats=1, holdout=0.2)
    if found.holdout is None:
        raise SystemExit("; ".join(found.notes))
    (accuracy,) = found.holdout.scores
    lr = float(str(found.holdout.parameters["lr"]))
    torch.manual_seed(0)
    fit(lr, torch.arange(N_POINTS), partial(TelemetryCallback, project="examples", name="choosing"))
    print(f"lr {lr}: {accuracy.value:.0%} right on the holdout; now: telemetry show choosing")


if __name__ == "__main__":
    main()
