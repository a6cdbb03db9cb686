"""The parity of four of twelve bits: nothing is learned by the last layer alone."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_BITS, N_COUNTED, WIDTH = 12, 4, 128


def train(
    record: Record,
    *,
    seed: int,
    first_std: float | None = None,
    head_factor: float = 1.0,
    lr: float = 0.1,
    steps: int = 300,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        first_std: Standard deviation of the first weights, before a normalisation that hides their
            size; None is the usual initialisation.
        head_factor: Learning rate of the last layer over that of the others.
        lr: Learning rate of SGD with momentum.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    body = nn.Sequential(nn.Linear(N_BITS, WIDTH), nn.LayerNorm(WIDTH), nn.ReLU())
    head = nn.Linear(WIDTH, 1)
    model = nn.Sequential(body, head)
    if first_std is not None:
        nn.init.normal_(body[0].weight, 0.0, first_std)
    groups = [
        {"params": list(body.parameters()), "lr": lr},
        {"params": list(head.parameters()), "lr": lr * head_factor},
    ]
    optimizer = torch.optim.SGD(groups, lr, momentum=0.9)
    with record(model, optimizer) as telemetry:
        for _ in range(steps):
            bits = torch.randint(2, (128, N_BITS), generator=generator).float() * 2 - 1
            odd = (bits[:, :N_COUNTED].prod(1) < 0).float()
            loss = functional.binary_cross_entropy_with_logits(model(bits)[:, 0], odd)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
