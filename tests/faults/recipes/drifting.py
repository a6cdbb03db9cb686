"""A classifier with bfloat16 logits and a penalty on their log-partition."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]


class Classifier(nn.Module):
    """Logits are rounded to the type in which a mixed-precision run has them."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(32, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.net(x).bfloat16()


def train(record: Record, *, seed: int, penalty: float = 0.01, steps: int = 150) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        penalty: Weight of the squared log-partition (z-loss, arXiv:2204.02311); a negative one, a
            sign error, rewards logits that drift.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Classifier()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    centres = torch.randn(10, 32, generator=generator)
    with record(model, optimizer) as telemetry:
        for _ in range(steps):
            labels = torch.randint(10, (64,), generator=generator)
            logits = model(centres[labels] + torch.randn(64, 32, generator=generator))
            loss = functional.cross_entropy(logits, labels)
            optimizer.zero_grad()
            (loss + penalty * logits.logsumexp(-1).square().mean()).backward()
            optimizer.step()
            telemetry.step(loss=loss)
