"""A classifier of ten clusters whose steps add up the gradients of eight micro-batches."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_IN, N_CLASSES, WIDTH, N_MICRO = 32, 10, 32, 8


def train(  # noqa: PLR0913 - the differences
    record: Record,
    *,
    seed: int,
    divisor: float = 8.0,
    reports_root: bool = False,
    lr: float = 0.08,
    n_inputs: int = 16,
    clears: bool = False,
    noise: float = 2.0,
    every: int = 4,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        divisor: Of the loss of each micro-batch.
        reports_root: Whether the loop reports what it calls backward on, and not the loss.
        lr: Learning rate of SGD with momentum.
        n_inputs: Of a micro-batch.
        clears: Whether gradients are cleared before each micro-batch.
        noise: Deviation of the inputs about their centres.
        every: Steps from one sample to the next.
    """
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(N_IN, WIDTH), nn.ReLU(), nn.Linear(WIDTH, N_CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), lr, momentum=0.9)
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(N_CLASSES, N_IN, generator=generator)
    with record(model, optimizer, every=every) as telemetry:
        for _ in range(100):
            optimizer.zero_grad()
            for _ in range(N_MICRO):
                if clears:
                    optimizer.zero_grad()
                labels = torch.randint(N_CLASSES, (n_inputs,), generator=generator)
                inputs = centres[labels] + noise * torch.randn(n_inputs, N_IN, generator=generator)
                loss = functional.cross_entropy(model(inputs), labels)
                root = loss / divisor
                root.backward()
            optimizer.step()
            telemetry.step(loss=root if reports_root else loss)
