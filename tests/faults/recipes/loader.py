"""A small classifier that reads its batches from a torch DataLoader, or does something else."""

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]


def train(
    record: Record,
    *,
    seed: int,
    read: str = "epochs",
    shuffle: bool = True,
    wait_s: float = 0.0,
    decay_steps: int = 1000,
    n_steps: int = 100,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        read: `epochs`, or `restarted`: the iterator is created anew in each step.
        shuffle: Whether each epoch has its own order.
        decay_steps: Steps after which the learning rate is zero.
        wait_s: Seconds that each batch takes to be loaded.
        n_steps: Of the training.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(10, 32, generator=generator)
    y = torch.randint(10, (640,), generator=generator)
    x = centres[y] + torch.randn(640, 32, generator=generator)

    def collate(samples: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        if wait_s:
            time.sleep(wait_s)  # the test's clock jumps instead
        return torch.stack([a for a, _ in samples]), torch.stack([b for _, b in samples])

    data = TensorDataset(x, y)
    loader = DataLoader(data, 32, shuffle=shuffle, generator=generator, collate_fn=collate)
    model = nn.Sequential(nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 10))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda n: max(0.0, 1 - n / decay_steps)
    )
    batches = _restarted(loader) if read == "restarted" else _epochs(loader)
    with record(model, optimizer) as telemetry:
        for _, (inputs, labels) in zip(range(n_steps), batches, strict=False):
            loss = functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            telemetry.step(loss=loss)


def _epochs(loader: "DataLoader[tuple[Tensor, ...]]") -> Iterator[tuple[Tensor, ...]]:
    while True:
        yield from loader


def _restarted(loader: "DataLoader[tuple[Tensor, ...]]") -> Iterator[tuple[Tensor, ...]]:
    while True:
        yield next(iter(loader))
