"""Batches come from worker processes; says how it was started, and what its workers see."""

import os
import pickle
import sys

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from telemetry import TelemetryCallback


class Sums(Dataset):
    def __len__(self) -> int:
        return 24

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        # A worker may train too, and is no part of the training.
        helper = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(helper.parameters(), lr=0.1)
        helper(torch.ones(1)).sum().backward()
        optimizer.step()
        values = torch.arange(index, index + 3) / 24
        return values, values.sum(0, keepdim=True)


def main() -> None:
    method = next((word for word in sys.argv[1:] if word in {"fork", "spawn"}), "fork")
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU(), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    loader = DataLoader(Sums(), batch_size=4, num_workers=1, multiprocessing_context=method)
    telemetry = TelemetryCallback(model, optimizer)
    for values, targets in loader:
        loss = nn.functional.mse_loss(model(values), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        telemetry.step(loss=loss)
    telemetry.close()
    print(f"{loss.item():.6f}", __name__, type(pickle.loads(pickle.dumps(Sums()))).__module__)
    print(sys.argv, __file__, sys.path[0], sys.flags, __spec__, os.getcwd())


if __name__ == "__main__":
    main()
