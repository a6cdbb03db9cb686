"""Short sequences: which of their first places was largest, read by a layer that runs over them."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
LENGTH, WIDTH, N_CLASSES = 7, 16, 4


class Rows(nn.Module):
    """One layer over the places of a sequence, a head, and perhaps a softmax of its own."""

    def __init__(self, kind: str, *, batch_first: bool, softmax_dim: int | None) -> None:
        super().__init__()
        self.embed = nn.Linear(3, WIDTH)
        self.kind = kind
        if kind == "attention":
            self.layer: nn.Module = nn.MultiheadAttention(WIDTH, 2, batch_first=batch_first)
        else:
            self.layer = getattr(nn, kind)(WIDTH, WIDTH, batch_first=batch_first)
        self.head = nn.Linear(WIDTH, N_CLASSES)
        self.softmax_dim = softmax_dim

    def forward(self, x: Tensor) -> Tensor:
        """Logits, or what a softmax along some dimension makes of them."""
        x = self.embed(x).tanh()
        states = self.layer(x, x, x)[0] if self.kind == "attention" else self.layer(x)[0]
        out: Tensor = self.head(x[:, 0] + states[:, -1])
        return out if self.softmax_dim is None else out.log_softmax(self.softmax_dim)


def train(
    record: Record,
    *,
    seed: int,
    kind: str = "GRU",
    batch_first: bool = True,
    softmax_dim: int | None = None,
    batch: int = 32,
    steps: int = 120,
) -> None:
    """Train and record once; the last batch of an epoch is smaller.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        kind: Of the layer.
        batch_first: What it is told of its input, which is (batch, time, features).
        softmax_dim: Of a softmax before the loss.
        batch: Samples of most batches.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Rows(kind, batch_first=batch_first, softmax_dim=softmax_dim)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    x = torch.randn(500, LENGTH, 3, generator=generator)
    y = x[:, :N_CLASSES, 0].argmax(1)
    loss_of = functional.cross_entropy if softmax_dim is None else functional.nll_loss
    with record(model, optimizer) as telemetry:
        for step in range(steps):
            rows = torch.randperm(500, generator=generator)[: batch if (step + 1) % 15 else 20]
            loss = loss_of(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
