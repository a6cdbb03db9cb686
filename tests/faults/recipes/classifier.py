"""A classifier of ten clusters; the differences lie around its loss and its optimizer."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_IN, N_CLASSES, WIDTH = 32, 10, 32
LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross_entropy": functional.cross_entropy,
    "nll_loss": functional.nll_loss,
}


def train(
    record: Record,
    *,
    seed: int,
    softmax: bool = False,
    loss: str = "cross_entropy",
    lr: float = 3e-3,
    steps: int = 150,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        softmax: The model ends with one.
        loss: cross_entropy or nll_loss.
        lr: Learning rate of Adam.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    layers = [nn.Linear(N_IN, WIDTH), nn.ReLU(), nn.Linear(WIDTH, N_CLASSES)]
    model = nn.Sequential(*layers, nn.Softmax(-1)) if softmax else nn.Sequential(*layers)
    optimizer = torch.optim.Adam(model.parameters(), lr)
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(N_CLASSES, N_IN, generator=generator)
    with record(model, optimizer) as telemetry:
        for _ in range(steps):
            labels = torch.randint(N_CLASSES, (64,), generator=generator)
            inputs = centres[labels] + torch.randn(64, N_IN, generator=generator)
            value = LOSSES[loss](model(inputs), labels)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            telemetry.step(loss=value)
