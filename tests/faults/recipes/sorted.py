"""A classifier of clusters that reads its samples in some order of their classes."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_IN, PER_CLASS = 32, 64


def train(
    record: Record,
    *,
    seed: int,
    order: str = "sorted",
    classes: int = 10,
    binary: bool = False,
    size: int = 32,
    n_steps: int = 120,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        order: `sorted`, `shuffled`, `class_by_batch`, `two_classes` drawn for each batch, or
            `curriculum`: the first half of the classes alone for a third of the run.
        classes: Clusters.
        binary: Whether the loss is a binary cross-entropy.
        size: Of a batch.
        n_steps: Of the training.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, N_IN, generator=generator)
    y = torch.arange(classes).repeat_interleave(PER_CLASS)
    x = centres[y] + torch.randn(len(y), N_IN, generator=generator)
    model = nn.Sequential(nn.Linear(N_IN, 32), nn.ReLU(), nn.Linear(32, 1 if binary else classes))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    places = _places(order, classes, size, n_steps, generator)
    with record(model, optimizer) as telemetry:
        for _, kept in zip(range(n_steps), places, strict=False):
            out, labels = model(x[kept]), y[kept]
            loss = (
                functional.binary_cross_entropy_with_logits(out[:, 0], labels.float())
                if binary
                else functional.cross_entropy(out, labels)
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)


def _places(
    order: str, classes: int, size: int, n_steps: int, generator: torch.Generator
) -> Iterator[Tensor]:
    n, step = classes * PER_CLASS, 0
    while order in {"sorted", "shuffled"}:
        places = torch.arange(n) if order == "sorted" else torch.randperm(n, generator=generator)
        yield from places.split(size)
    while True:
        if order == "curriculum":
            among = torch.arange(classes // 2 if step < n_steps / 3 else classes)
        else:
            chosen = 2 if order == "two_classes" else 1
            among = torch.randperm(classes, generator=generator)[:chosen]
        drawn = among[torch.randint(len(among), (size,), generator=generator)]
        yield drawn * PER_CLASS + torch.randint(PER_CLASS, (size,), generator=generator)
        step += 1
