"""Trains beside children that import this file again and are sent the model and its callback."""

import copy
import multiprocessing
import sys
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from telemetry import TelemetryCallback

if TYPE_CHECKING:
    from multiprocessing.queues import SimpleQueue

N_STEPS = 4


def train(
    model: nn.Module, optimizer: torch.optim.Optimizer, telemetry: TelemetryCallback | None
) -> list[float]:
    losses = []
    for step in range(N_STEPS):
        values = torch.linspace(0, 1, 6).reshape(2, 3) + step
        loss = nn.functional.mse_loss(model(values), values.sum(1, keepdim=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if telemetry is not None:
            telemetry.step(loss=loss)
            telemetry.log(val_loss=loss)
        losses.append(loss.item())
    return losses


def expected() -> tuple[list[float], list[float], list[float]]:
    """Losses of steps 0-3, of a child that goes on from there, and of steps 4-7."""
    plain = copy.deepcopy(model)
    optimizer = torch.optim.Adam(plain.parameters(), lr=0.1)
    first = train(plain, optimizer, None)
    twin = copy.deepcopy(plain)
    child = train(twin, torch.optim.Adam(twin.parameters(), lr=0.1), None)
    return first, child, train(plain, optimizer, None)


torch.manual_seed(3)
model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
FIRST, CHILD, LAST = expected()
optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
telemetry = TelemetryCallback(model, optimizer, every=1, overhead_budget=None)


def retrain(sent: nn.Module, telemetry: TelemetryCallback) -> list[float]:
    """Train a copy of what was sent, and what this process has imported."""
    train(model, optimizer, globals()["telemetry"])
    twin = copy.deepcopy(sent)  # what is sent shares its memory
    return train(twin, torch.optim.Adam(twin.parameters(), lr=0.1), telemetry)


class Retrained(Dataset[Tensor]):
    def __init__(self) -> None:
        self.model = model
        self.telemetry = telemetry

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor(retrain(self.model, self.telemetry), dtype=torch.float64)


def child(sent: nn.Module, telemetry: TelemetryCallback, results: "SimpleQueue[object]") -> None:
    results.put(retrain(sent, telemetry))


def main(method: str) -> None:
    assert train(model, optimizer, telemetry) == FIRST
    context = multiprocessing.get_context(method)
    results = context.SimpleQueue()
    process = context.Process(target=child, args=(model, telemetry, results))
    process.start()
    assert results.get() == CHILD
    process.join()
    assert process.exitcode == 0
    loader = DataLoader(Retrained(), num_workers=1, multiprocessing_context=method)
    assert [batch.flatten().tolist() for batch in loader] == [CHILD]
    assert train(model, optimizer, telemetry) == LAST
    telemetry.close()


if __name__ == "__main__":
    main(sys.argv[1])
