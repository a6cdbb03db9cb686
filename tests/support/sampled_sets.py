"""A loop whose training and validation samples a test chooses, and the sketches it leaves."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from loops import records
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

N_FEATURES = 12
Evaluate = Callable[[nn.Module, TelemetryCallback], None]


def samples(n: int, seed: int) -> Tensor:
    """Samples of a data set, shape (n, 12)."""
    return torch.randn(n, N_FEATURES, generator=torch.Generator().manual_seed(seed))


def train(
    store: Path,
    inputs: Tensor,
    evaluate: Evaluate,
    *,
    model: nn.Module | None = None,
    epochs: int = 4,
    size: int = 10,
) -> list[dict[str, object]]:
    """Train on all inputs in each epoch, evaluate after it; returns the rows of `sketches`."""
    torch.manual_seed(0)
    model = model or nn.Sequential(nn.Linear(N_FEATURES, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    with TelemetryCallback(
        model, optimizer, store=store, strict=True, overhead_budget=None, every=1
    ) as telemetry:
        for _ in range(epochs):
            for batch in inputs[torch.randperm(len(inputs))].split(size):
                outputs = model(batch)
                loss = functional.cross_entropy(outputs, torch.zeros(len(batch), dtype=torch.long))
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                telemetry.step(loss=loss)
            evaluate(model, telemetry)
    (run,) = store.glob("project=*/run=*")
    return records(run, "sketches")


def hashes(row: dict[str, object]) -> set[int]:
    """The hashes of a row."""
    return set(np.frombuffer(row["hashes"], "<u8").tolist())  # type: ignore[call-overload]


def of_phase(rows: list[dict[str, object]], phase: str) -> list[dict[str, object]]:
    """Rows of a phase in the order of their steps."""
    found = [row for row in rows if row["phase"] == phase]
    return sorted(found, key=lambda row: int(str(row["step"])))
