"""Two convolutions with functional ReLU and a head, on images of four kinds of stripes."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]


class ConvNet(nn.Module):
    """Functional activations are attributed to the layer that feeds them."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 8, 3, padding=1)
        self.conv2 = nn.Conv2d(8, 16, 3, padding=1)
        self.head = nn.Linear(16, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Logits."""
        hidden = functional.max_pool2d(functional.relu(self.conv1(images)), 2)
        return self.head(functional.relu(self.conv2(hidden)).mean((2, 3)))


def train(
    record: Record,
    *,
    seed: int,
    bias_init: float | None = None,
    lr: float = 3e-3,
    left_out: Sequence[str] = (),
    steps: int = 120,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        bias_init: Bias of the second convolution.
        lr: Learning rate of Adam.
        left_out: Layers that the optimizer is not given.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    model = ConvNet()
    if bias_init is not None:
        nn.init.constant_(model.conv2.bias, bias_init)
    parameters = [
        p for name, p in model.named_parameters() if name.rpartition(".")[0] not in left_out
    ]
    optimizer = torch.optim.Adam(parameters, lr)
    generator = torch.Generator().manual_seed(seed)
    grid = torch.arange(8.0)
    kinds = torch.stack(
        [torch.sin(w * (grid[:, None] if down else grid[None, :])).expand(8, 8)
         for down in (True, False) for w in (0.8, 2.0)]
    )  # fmt: skip
    with record(model, optimizer) as telemetry:
        for _ in range(steps):
            labels = torch.randint(4, (32,), generator=generator)
            noise = 0.5 * torch.randn(32, 8, 8, generator=generator)
            loss = functional.cross_entropy(model((kinds[labels] + noise)[:, None]), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
