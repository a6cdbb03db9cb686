"""Five small networks with places where an operation can be broken, and their batches."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

N = 16
Operation = Callable[[Tensor], Tensor]


class Spot(nn.Module):
    """Hands on its input, until it is given an operation."""

    operation: Operation | None = None

    def forward(self, values: Tensor) -> Tensor:
        """As it is, or through the operation."""
        return values if self.operation is None else self.operation(values)


class Mlp(nn.Module):
    """Two hidden layers, a spot after each."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1 = nn.Linear(8, 16)
        self.spot1 = Spot()
        self.fc2 = nn.Linear(16, 16)
        self.spot2 = Spot()
        self.head = nn.Linear(16, 4)

    def forward(self, values: Tensor) -> Tensor:
        """Logits of 4 classes."""
        hidden = self.spot1(functional.relu(self.fc1(values)))
        hidden = functional.dropout(self.spot2(torch.tanh(self.fc2(hidden))), 0.1, self.training)
        return self.head(hidden)


class Cnn(nn.Module):
    """Two convolutions with BatchNorm, a spot between."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 6, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(6)
        self.spot1 = Spot()
        self.conv2 = nn.Conv2d(6, 6, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(6)
        self.spot2 = Spot()
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of 4 classes."""
        hidden = self.spot1(functional.relu(self.norm1(self.conv1(images))))
        hidden = self.spot2(functional.relu(self.norm2(self.conv2(hidden)), inplace=True))
        return self.head(hidden.mean(dim=(2, 3)))


class Rnn(nn.Module):
    """A GRU over vectors, whose last state is read."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(5, 8)
        self.spot1 = Spot()
        self.gru = nn.GRU(8, 12, batch_first=True)
        self.spot2 = Spot()
        self.head = nn.Linear(12, 4)

    def forward(self, sequences: Tensor) -> Tensor:
        """Logits of 4 classes."""
        states, _ = self.gru(self.spot1(self.project(sequences)))
        return self.head(self.spot2(states[:, -1]))


class Attention(nn.Module):
    """One head with a causal mask of minus infinities."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.scores = Spot()
        self.out = nn.Linear(width, width)

    def forward(self, values: Tensor) -> Tensor:
        """Values of the same shape, (batch, time, width)."""
        queries, keys, content = self.qkv(values).chunk(3, dim=-1)
        logits = queries @ keys.transpose(1, 2) / math.sqrt(values.shape[-1])
        later = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
        logits = self.scores(logits).masked_fill(later, -math.inf)
        return self.out(torch.softmax(logits, dim=-1) @ content)


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = Attention(width)
        self.norm2 = nn.LayerNorm(width)
        self.up = nn.Linear(width, 2 * width)
        self.spot = Spot()
        self.down = nn.Linear(2 * width, width)

    def forward(self, values: Tensor) -> Tensor:
        """Values of the same shape."""
        values = values + self.attention(self.norm1(values))
        hidden = self.spot(functional.gelu(self.up(self.norm2(values))))
        return values + self.down(hidden)


class Transformer(nn.Module):
    """Two blocks over tokens with a weight for each."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 12)
        self.blocks = nn.ModuleList([Block(12), Block(12)])
        self.norm = nn.LayerNorm(12)
        self.head = nn.Linear(12, 4, bias=False)

    def forward(self, tokens: Tensor, weights: Tensor) -> Tensor:
        """Logits of 4 classes."""
        hidden = self.embed(tokens) * weights[..., None]
        for block in self.blocks:
            hidden = block(hidden)
        return self.head(self.norm(hidden).mean(dim=1))


class Recommender(nn.Module):
    """Two embeddings and a dense vector, joined."""

    def __init__(self) -> None:
        super().__init__()
        self.users = nn.Embedding(20, 6)
        self.items = nn.Embedding(30, 6)
        self.dense = nn.Linear(3, 6)
        self.spot1 = Spot()
        self.spot2 = Spot()
        self.mix = nn.Linear(18, 12)
        self.head = nn.Linear(12, 4)

    def forward(self, users: Tensor, items: Tensor, dense: Tensor) -> Tensor:
        """Logits of 4 classes."""
        own = self.spot1(self.users(users))
        joined = torch.cat([own, self.items(items), self.spot2(self.dense(dense))], dim=-1)
        return self.head(functional.silu(self.mix(joined)))


Batch = tuple[tuple[Tensor, ...], Tensor]


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """A network and how its batches are made.

    Attributes:
        build: Makes the network.
        inputs: Makes the arguments of its forward.
        floats: Which of them holds real numbers.
    """

    build: Callable[[], nn.Module]
    inputs: Callable[[torch.Generator], tuple[Tensor, ...]]
    floats: int = 0

    def batch(self, generator: torch.Generator) -> Batch:
        """Arguments and labels."""
        return self.inputs(generator), torch.randint(4, (N,), generator=generator)


def _normal(*shape: int) -> Callable[[torch.Generator], tuple[Tensor, ...]]:
    return lambda generator: (torch.randn(*shape, generator=generator),)


ARCHITECTURES = {
    "mlp": Architecture(build=Mlp, inputs=_normal(N, 8)),
    "cnn": Architecture(build=Cnn, inputs=_normal(N, 1, 6, 6)),
    "rnn": Architecture(build=Rnn, inputs=_normal(N, 7, 5)),
    "transformer": Architecture(
        build=Transformer,
        inputs=lambda generator: (
            torch.randint(11, (N, 6), generator=generator),
            torch.rand(N, 6, generator=generator) + 0.5,
        ),
        floats=1,
    ),
    "embedding": Architecture(
        build=Recommender,
        inputs=lambda generator: (
            torch.randint(20, (N,), generator=generator),
            torch.randint(30, (N,), generator=generator),
            torch.randn(N, 3, generator=generator),
        ),
        floats=2,
    ),
}
