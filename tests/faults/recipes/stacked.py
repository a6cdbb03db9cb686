"""A curve that no line fits, learnt by two layers with or without something between them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_IN, WIDTH = 5, 48


class Functional(nn.Module):
    """The activation is a function, and the layers are called by hand."""

    def __init__(self, between: Callable[[Tensor], Tensor], width: int) -> None:
        super().__init__()
        self.first = nn.Linear(N_IN, width)
        self.second = nn.Linear(width, 2)
        self._between = between

    def forward(self, x: Tensor) -> Tensor:
        """Two values."""
        return self.second(self._between(self.first(x)))


BETWEEN: dict[str, Callable[[Tensor], Tensor]] = {
    "nothing": lambda x: x,
    "relu": functional.relu,
    "dropout": lambda x: functional.dropout(x, 0.2),
    "by_hand": lambda x: x * (x > 0).float(),
}


def train(
    record: Record,
    *,
    seed: int,
    between: str = "relu",
    is_line: bool = False,
    width: int = WIDTH,
    steps: int = 250,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        between: What stands between the layers.
        is_line: The targets are linear in the inputs.
        width: Features between the layers.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Functional(BETWEEN[between], width)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    x = torch.randn(400, N_IN, generator=generator)
    curve = torch.stack([x[:, 0] * x[:, 1], x[:, 2].abs() - 0.8], 1)
    y = x[:, :2] - x[:, 2:4] if is_line else curve
    with record(model, optimizer) as telemetry:
        for step in range(steps):
            rows = torch.randperm(400, generator=generator)[:32] if step % 13 else torch.arange(20)
            loss = functional.mse_loss(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
