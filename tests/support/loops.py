"""Small real training loops for the capture tests."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback
from telemetry.format.shards import listed_shards, read_shard

Batch = tuple[Tensor, Tensor]


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)
    )


class ConvNet(nn.Module):
    """BatchNorm, a functional activation and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, images: Tensor) -> Tensor:
        hidden = functional.relu(self.norm(self.conv(images)))
        hidden = functional.dropout(hidden, 0.2, self.training)
        return self.head(hidden.mean(dim=(2, 3)))


class Classifier(nn.Module):
    """A transformer encoder over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(16, 4)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.encoder(self.embed(tokens)).mean(dim=1))


def vectors(generator: torch.Generator) -> Batch:
    return torch.randn(32, 8, generator=generator), torch.randint(4, (32,), generator=generator)


def images(generator: torch.Generator) -> Batch:
    return torch.randn(8, 1, 6, 6, generator=generator), torch.randint(4, (8,), generator=generator)


def tokens(generator: torch.Generator) -> Batch:
    return (
        torch.randint(11, (8, 5), generator=generator),
        torch.randint(4, (8,), generator=generator),
    )


@dataclass
class Training:
    """A seeded training; `steps()` yields the loss after each optimizer step."""

    build: Callable[[], nn.Module]
    batch: Callable[[torch.Generator], Batch]
    optimizer_class: Callable[..., torch.optim.Optimizer] = torch.optim.AdamW
    lr: float = 1e-2
    seed: int = 0
    model: nn.Module = field(init=False)
    optimizer: torch.optim.Optimizer = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(self.seed)
        self.model = self.build()
        self.optimizer = self.optimizer_class(self.model.parameters(), lr=self.lr)
        self._generator = torch.Generator().manual_seed(self.seed)

    def steps(self, n_steps: int) -> Iterator[Tensor]:
        for _ in range(n_steps):
            inputs, labels = self.batch(self._generator)
            loss = functional.cross_entropy(self.model(inputs), labels)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            yield loss

    def state(self) -> list[Tensor]:
        """Everything that training determines: weights, buffers, optimizer state, RNG state."""
        tensors = [t.detach().clone() for t in self.model.state_dict().values()]
        for entry in self.optimizer.state.values():
            tensors += [v.clone() for v in entry.values() if isinstance(v, Tensor)]
        return [*tensors, torch.get_rng_state()]


def rows_of(run: Path, table: str, rank: int = 0) -> pa.Table:
    """All rows of a table, in shard order."""
    shards = [read_shard(path) for path in listed_shards(run / table / f"rank={rank}")]
    return pa.concat_tables(shards) if shards else pa.table({})


def records(run: Path, table: str) -> list[dict[str, object]]:
    return list(rows_of(run, table).to_pylist())


def recorded(training: Training, store: Path, n_steps: int, **options: object) -> Path:
    """Train with a callback that is told the loss; returns the run folder."""
    with TelemetryCallback(
        training.model,
        training.optimizer,
        store=store,
        strict=True,
        **options,  # type: ignore[arg-type]
    ) as telemetry:
        for loss in training.steps(n_steps):
            telemetry.step(loss=loss)
        assert telemetry.path is not None
        return telemetry.path
