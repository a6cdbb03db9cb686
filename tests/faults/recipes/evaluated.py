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


def train(  # noqa: PLR0913 - the differences
    record: Record,
    *,
    seed: int,
    goes_over: bool = True,
    goes_back: bool = True,
    metric: str = "val_accuracy",
    logs_loss: bool = False,
    other_labels: bool = False,
    other_scale: float = 1.0,
    steps: int = 120,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        goes_over: Whether evaluations run in evaluation mode.
        goes_back: Whether the model returns to training mode.
        metric: What the result of an evaluation is logged as.
        logs_loss: Whether the validation loss is logged, too.
        other_labels: Whether the validation labels belong to other samples.
        other_scale: Factor on the inputs of the validation.
        steps: Optimizer steps.
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
        for step in range(1, steps + 1):
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
                labels = labels.roll(1) if other_labels else labels
                with torch.no_grad():
                    out = model(other_scale * inputs)
                    val_loss = functional.cross_entropy(out, labels)
                    right = (out.argmax(-1) == labels).float().mean()
                if goes_back:
                    model.train()
                told = {"val_loss": float(val_loss)} if logs_loss else {}
                telemetry.log(**{metric: float(right)}, **told)
