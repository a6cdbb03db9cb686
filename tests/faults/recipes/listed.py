"""A classifier of ten clusters whose hidden layers lie in a list, of torch's or of Python."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_IN, N_CLASSES, WIDTH = 32, 10, 32


class Listed(nn.Module):
    """Two hidden layers between the first and the last."""

    def __init__(self, *, registered: bool) -> None:
        super().__init__()
        self.first = nn.Linear(N_IN, WIDTH)
        hidden = [nn.Linear(WIDTH, WIDTH) for _ in range(2)]
        self.hidden: Sequence[nn.Module] = nn.ModuleList(hidden) if registered else hidden  # type: ignore[assignment]
        self.head = nn.Linear(WIDTH, N_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.first(x).relu()
        for layer in self.hidden:
            x = layer(x).relu()
        return self.head(x)


def train(record: Record, *, seed: int, registered: bool = True) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        registered: Whether the list is an nn.ModuleList.
    """
    torch.manual_seed(seed)
    model = Listed(registered=registered)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(N_CLASSES, N_IN, generator=generator)
    with record(model, optimizer) as telemetry:
        for _ in range(150):
            labels = torch.randint(N_CLASSES, (64,), generator=generator)
            inputs = centres[labels] + torch.randn(64, N_IN, generator=generator)
            loss = functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
