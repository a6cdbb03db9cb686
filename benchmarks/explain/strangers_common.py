"""How the strangers train and are recorded."""

import os
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import ExplainSpec, TelemetryCallback

SEED = int(os.environ.get("STRANGER_SEED", "0"))
BATCH_SIZE = 64


def train_and_record(
    build: Callable[[], nn.Module], inputs: Tensor, labels: Tensor, *, module: str, steps: int
) -> None:
    """Train by Adam, record the run, and keep the weights."""
    torch.manual_seed(SEED)
    model = build()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    spec = ExplainSpec(
        model=f"{module}:build",
        dataset=f"{module}:valid",
        train=f"{module}:train",
        checkpoint=f"{module}.pt",
    )
    with TelemetryCallback(model, optimizer, name=module, explain=spec) as telemetry:
        for _ in range(steps):
            chosen = torch.randint(len(labels), (BATCH_SIZE,))
            loss = functional.cross_entropy(model(inputs[chosen]), labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    torch.save(model.state_dict(), f"{module}.pt")
    print(f"loss {loss.item():.3f}")
