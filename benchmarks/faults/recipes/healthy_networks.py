"""Networks and loops that several healthy controls share."""
# ruff: noqa: D103

import torch
from material import (
    Bench,
    ConvNet,
    digits,
    evaluation,
    train,
)
from torch import Tensor, nn
from torch.nn import functional

MLP_3 = (64, 64, 64, 10)


def classify(
    bench: Bench,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    steps: int = 300,
    size: int = 64,
) -> None:
    data = digits(images=isinstance(model, ConvNet | Vision | ConvResidual))
    train(
        bench,
        model,
        optimizer,
        data.batches(bench.generator(), size, steps),
        evaluate=evaluation(model, data),
    )
    bench.score(model, data)


class Vision(nn.Module):
    """A transformer over the rows of an image; post-norm."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Linear(8, 32)
        self.pos = nn.Parameter(0.02 * torch.randn(8, 32))
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(self.encoder(self.patch(x[:, 0]) + self.pos).mean(1))


class Block(nn.Module):
    """A residual block of two convolutions; the last norm starts at zero."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_out)
        nn.init.zeros_(self.norm2.weight)
        self.short = nn.Conv2d(n_in, n_out, 1, stride) if n_in != n_out else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Block output."""
        out = functional.relu(self.norm1(self.conv1(x)))
        return functional.relu(self.norm2(self.conv2(out)) + self.short(x))


class ConvResidual(nn.Module):
    """A small ResNet."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.blocks = nn.Sequential(Block(8, 8, 1), Block(8, 16, 2), Block(16, 32, 2))
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.blocks(functional.relu(self.norm(self.stem(x))))
        return self.head(x.mean((2, 3)))
