"""A classifier of ten clusters trained with a loss scaler that begins far too high."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_IN, N_CLASSES, WIDTH = 32, 10, 32


class Half(torch.autograd.Function):
    """Passes values on as they are and gradients as float16 would."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        """The same values."""
        del ctx
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """Rounded, infinite beyond 65,504."""
        del ctx
        return gradient.half().float()


def train(record: Record, *, seed: int, unscaled_first: bool = True, rooted: bool = False) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        unscaled_first: Whether gradients are unscaled before they are clipped.
        rooted: Whether a square root at zero is added to the loss.
    """
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(N_IN, WIDTH), nn.ReLU(), nn.Linear(WIDTH, N_CLASSES))
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=40)
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(N_CLASSES, N_IN, generator=generator)
    with record(model, optimizer) as telemetry:
        for _ in range(150):
            labels = torch.randint(N_CLASSES, (64,), generator=generator)
            out = Half.apply(model(centres[labels] + torch.randn(64, N_IN, generator=generator)))
            loss = functional.cross_entropy(out, labels)
            if rooted:
                loss = loss + 1e-3 * (out - out.detach()).square().sum().sqrt()
            optimizer.zero_grad()
            scaler.scale(loss).backward()
            if unscaled_first:
                scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            telemetry.step(loss=loss)
