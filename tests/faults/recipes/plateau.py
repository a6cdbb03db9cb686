"""A classifier whose rate is cut by ReduceLROnPlateau after each short epoch."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import ReduceLROnPlateau

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]


def train(  # noqa: PLR0913 - the differences
    record: Record,
    *,
    seed: int,
    mode: str = "min",
    watches: str = "val_loss",
    logs: bool = True,
    patience: int = 0,
    noise_only: bool = False,
    epochs: int = 12,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        mode: Of the scheduler.
        watches: `val_loss`, `val_accuracy`, or `train_loss`, the mean of the epoch.
        logs: Whether validation results are logged.
        patience: Of the scheduler.
        noise_only: Whether labels are random: validation becomes worse while training falls.
        epochs: Of eight steps.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(10, 32, generator=generator)

    def data(n: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(10, (n,), generator=generator)
        x = centres[labels] + torch.randn(n, 32, generator=generator)
        return x, torch.randint(10, (n,), generator=generator) if noise_only else labels

    x, y = data(256)
    val_x, val_y = data(256)
    model = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-2 if noise_only else 3e-3)
    scheduler = ReduceLROnPlateau(optimizer, mode, patience=patience, factor=0.3)
    with record(model, optimizer) as telemetry:
        for _ in range(epochs):
            losses = []
            order = torch.randperm(len(x), generator=generator)
            for batch in order.split(32):
                loss = functional.cross_entropy(model(x[batch]), y[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                telemetry.step(loss=loss)
                losses.append(loss.detach())
            with torch.no_grad():
                out = model(val_x)
            reached = {
                "val_loss": functional.cross_entropy(out, val_y),
                "val_accuracy": (out.argmax(-1) == val_y).float().mean(),
                "train_loss": torch.stack(losses).mean(),
            }
            if logs:
                telemetry.log(
                    val_loss=reached["val_loss"], val_accuracy=float(reached["val_accuracy"])
                )
            scheduler.step(reached[watches])
