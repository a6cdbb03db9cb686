"""A classifier of ten clusters with BatchNorm, evaluated every 20 steps."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_IN, N_CLASSES, WIDTH = 32, 10, 32


class Model(nn.Module):
    """One hidden layer, normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(N_IN, WIDTH)
        self.norm = nn.BatchNorm1d(WIDTH)
        self.drop = nn.Dropout(0.2)
        self.last = nn.Linear(WIDTH, N_CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.last(self.drop(functional.relu(self.norm(self.first(x)))))


def train(
    record: Record,
    *,
    seed: int,
    goes_over: bool = True,
    goes_back: bool = True,
    metric: str = "val_accuracy",
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        goes_over: Whether evaluations run in evaluation mode.
        goes_back: Whether the model returns to training mode.
        metric: What the result of an evaluation is logged as.
    """
    torch.manual_seed(seed)
    model = Model()
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(N_CLASSES, N_IN, generator=generator)

    def batch() -> tuple[Tensor, Tensor]:
        labels = torch.randint(N_CLASSES, (64,), generator=generator)
        return centres[labels] + torch.randn(64, N_IN, generator=generator), labels

    with record(model, optimizer) as telemetry:
        for step in range(1, 121):
            inputs, labels = batch()
            loss = functional.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
            if step % 20 == 0:
                if goes_over:
                    model.eval()
                inputs, labels = batch()
                with torch.no_grad():
                    right = (model(inputs).argmax(-1) == labels).float().mean()
                if goes_back:
                    model.train()
                telemetry.log(**{metric: float(right)})
