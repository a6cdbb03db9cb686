"""The three models whose training is timed: a GPT, a small MLP and a ResNet-18.

Data is made once and reused, so that a step is forward, backward and optimizer only.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

VOCABULARY = 1_104
CONTEXT = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A model, its optimizer, and a function that takes one step and returns the loss."""

    name: str
    model: nn.Module
    optimizer: torch.optim.Optimizer
    step: Callable[[], Tensor]

    @property
    def n_parameters(self) -> int:
        """Trainable elements of the model."""
        return sum(p.numel() for p in self.model.parameters())


class Block(nn.Module):
    """Pre-norm transformer block with one fused projection for query, key and value."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, hidden: Tensor) -> Tensor:
        """Hidden states (batch, time, width) after attention and MLP."""
        batch, time, width = hidden.shape
        qkv = self.qkv(self.norm1(hidden)).view(batch, time, 3, self.n_heads, -1)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        hidden = hidden + self.projection(mixed.transpose(1, 2).reshape(batch, time, width))
        return hidden + self.mlp(self.norm2(hidden))


class Gpt(nn.Module):
    """Eight blocks of width 256: 6.9 M parameters, 102 tensors."""

    def __init__(self, width: int = 256, n_blocks: int = 8, n_heads: int = 8) -> None:
        super().__init__()
        self.tokens = nn.Embedding(VOCABULARY, width)
        self.positions = nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*(Block(width, n_heads) for _ in range(n_blocks)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, VOCABULARY)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, time, vocabulary)."""
        hidden = self.tokens(tokens) + self.positions.weight
        return self.head(self.norm(self.blocks(hidden)))


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm around a shortcut."""

    def __init__(self, n_inputs: int, n_outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_inputs, n_outputs, 3, stride=stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(n_outputs)
        self.conv2 = nn.Conv2d(n_outputs, n_outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(n_outputs)
        self.shortcut = (
            nn.Identity()
            if stride == 1 and n_inputs == n_outputs
            else nn.Sequential(
                nn.Conv2d(n_inputs, n_outputs, 1, stride=stride, bias=False),
                nn.BatchNorm2d(n_outputs),
            )
        )

    def forward(self, images: Tensor) -> Tensor:
        """Feature maps (batch, n_outputs, height / stride, width / stride)."""
        hidden = nn.functional.relu(self.norm1(self.conv1(images)))
        hidden = self.norm2(self.conv2(hidden))
        return nn.functional.relu(hidden + self.shortcut(images))


def resnet18_model() -> nn.Sequential:
    """ResNet-18 with the small stem for 32x32 images: 11.2 M parameters, 62 tensors."""
    layers: list[nn.Module] = [
        nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.ReLU(),
    ]  # fmt: skip
    n_inputs = 64
    for n_outputs, stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        layers += [
            ResidualBlock(n_inputs, n_outputs, stride),
            ResidualBlock(n_outputs, n_outputs, 1),
        ]
        n_inputs = n_outputs
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10))


def _workload(name: str, model: nn.Module, inputs: Tensor, targets: Tensor) -> Workload:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)

    def step() -> Tensor:
        logits = model(inputs).flatten(0, -2)
        loss = nn.functional.cross_entropy(logits, targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss

    return Workload(name=name, model=model, optimizer=optimizer, step=step)


def gpt() -> Workload:
    """GPT-like model on random tokens, batch of 8 x 64."""
    torch.manual_seed(0)
    tokens = torch.randint(VOCABULARY, (8, CONTEXT + 1))
    return _workload("gpt-6.9M", Gpt(), tokens[:, :-1], tokens[:, 1:])


def mlp() -> Workload:
    """Three linear layers, 85 k parameters, batch of 64: about a millisecond a step."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)
    )
    return _workload("mlp-85k", model, torch.randn(64, 64), torch.randint(10, (64,)))


def resnet18() -> Workload:
    """ResNet-18 on random images of CIFAR's size, batch of 16."""
    torch.manual_seed(0)
    return _workload(
        "resnet-18", resnet18_model(), torch.randn(16, 3, 32, 32), torch.randint(10, (16,))
    )


WORKLOADS: dict[str, Callable[[], Workload]] = {"gpt": gpt, "mlp": mlp, "resnet18": resnet18}
