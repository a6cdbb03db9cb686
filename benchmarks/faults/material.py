"""Data, models and the plain loop that the recipes share."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import torch
from sklearn.datasets import load_digits, make_classification
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from telemetry import TelemetryCallback

Loss = Callable[[Tensor, Tensor], Tensor]
Activation = type[nn.Module]
Part = TypeVar("Part")


@dataclass(kw_only=True)
class Bench:
    """One run of one recipe: its seed, where it records, and what it reached.

    Attributes:
        seed: Of model and data.
        store: Where to record.
        options: Of the callback.
        result: What the run reached, by measure.
        is_twin: The recipe is trained without its fault.
        has_fault: The recipe has said what its fault is.
    """

    seed: int
    store: Path
    options: dict[str, object] = field(default_factory=dict)
    result: dict[str, float] = field(default_factory=dict)
    is_twin: bool = False
    has_fault: bool = False

    def fault(self, planted: Part, *, without: Part) -> Part:
        """The part that is wrong; in the twin of the run what stands there without the fault."""
        return planted if self.is_faulty else without

    @property
    def is_faulty(self) -> bool:
        """Whether what is wrong is there: asked where the fault is no single value."""
        self.has_fault = True
        return not self.is_twin

    def record(
        self, model: nn.Module, optimizer: Optimizer | Sequence[Optimizer], **more: object
    ) -> TelemetryCallback:
        """A callback with default settings."""
        return TelemetryCallback(model, optimizer, store=self.store, **{**self.options, **more})  # type: ignore[arg-type]

    def generator(self) -> torch.Generator:
        """Random numbers of the data, apart from those of the model."""
        return torch.Generator().manual_seed(1000 + self.seed)

    def score(self, model: nn.Module, data: "Data") -> None:
        """What the model reaches on the validation set, and the best answer that never looks."""
        self.result["accuracy"] = accuracy(model, data)
        self.result["constant"] = data.constant


@dataclass(frozen=True, kw_only=True)
class Data:
    """A training and a validation set."""

    x: Tensor
    y: Tensor
    val_x: Tensor
    val_y: Tensor

    @property
    def constant(self) -> float:
        """Validation accuracy of always naming the commonest class."""
        return float(self.val_y.flatten().bincount().max() / self.val_y.numel())

    def batches(self, generator: torch.Generator, size: int, steps: int) -> Iterator[tuple]:
        """Shuffled batches, epoch after epoch."""
        done = 0
        while done < steps:
            order = torch.randperm(len(self.x), generator=generator)
            for start in range(0, len(order) - min(size, len(order)) + 1, size):
                picked = order[start : start + size]
                yield self.x[picked], self.y[picked]
                done += 1
                if done == steps:
                    return


def digits(*, images: bool = False) -> Data:
    """Handwritten digits, standardised: 1,400 to train, 397 to validate."""
    raw, labels = load_digits(return_X_y=True)
    x = torch.tensor(raw, dtype=torch.float32)
    x = (x - x.mean()) / x.std() if images else (x - x.mean(0)) / (x.std(0) + 1e-6)
    y = torch.tensor(labels)
    if images:
        x = x.view(-1, 1, 8, 8)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(7))
    train, val = order[:1400], order[1400:]
    return Data(x=x[train], y=y[train], val_x=x[val], val_y=y[val])


def blobs(
    seed: int, *, n: int, n_val: int, features: int = 20, classes: int = 2, flip: float = 0.0
) -> Data:
    """make_classification with flipped labels."""
    raw, labels = make_classification(
        n + n_val,
        n_features=features,
        n_informative=max(4, features // 2),
        n_classes=classes,
        flip_y=flip,
        random_state=seed,
    )
    x, y = torch.tensor(raw, dtype=torch.float32), torch.tensor(labels)
    x = (x - x.mean(0)) / x.std(0)
    return Data(x=x[:n], y=y[:n], val_x=x[n:], val_y=y[n:])


def mlp(
    sizes: Sequence[int],
    activation: Activation = nn.ReLU,
    *,
    start: Callable[[nn.Linear], None] | None = None,
) -> nn.Sequential:
    """Linear layers with an activation between them."""
    layers: list[nn.Module] = []
    for n_in, n_out in itertools.pairwise(sizes):
        linear = nn.Linear(n_in, n_out)
        if start is not None:
            start(linear)
        layers += [linear, activation()]
    return nn.Sequential(*layers[:-1])


def normal(std: float) -> Callable[[nn.Linear], None]:
    """Weights from N(0, std), zero biases."""

    def start(linear: nn.Linear) -> None:
        nn.init.normal_(linear.weight, 0.0, std)
        nn.init.zeros_(linear.bias)

    return start


def he(linear: nn.Linear) -> None:
    """He initialisation, zero biases."""
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    nn.init.zeros_(linear.bias)


def xavier(linear: nn.Linear) -> None:
    """Xavier initialisation, zero biases."""
    nn.init.xavier_normal_(linear.weight)
    nn.init.zeros_(linear.bias)


def constant(value: float) -> Callable[[nn.Linear], None]:
    """Every weight the same, zero biases."""

    def start(linear: nn.Linear) -> None:
        nn.init.constant_(linear.weight, value)
        nn.init.zeros_(linear.bias)

    return start


class ConvNet(nn.Module):
    """Two convolutions with functional ReLU, pooling, a head; with or without BatchNorm."""

    def __init__(self, *, norm: bool = False, classes: int = 10) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(16) if norm else nn.Identity()
        self.conv2 = nn.Conv2d(16, 32, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(32) if norm else nn.Identity()
        self.head = nn.Linear(32 * 4, classes)
        self.cut = False

    def features(self, x: Tensor) -> Tensor:
        """Flat features."""
        x = functional.max_pool2d(functional.relu(self.norm1(self.conv1(x))), 2)
        x = functional.max_pool2d(functional.relu(self.norm2(self.conv2(x))), 2)
        return x.flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits; with `cut` the features are detached."""
        x = self.features(x)
        return self.head(x.detach() if self.cut else x)


class Residual(nn.Module):
    """Pre-norm residual MLP."""

    def __init__(self, depth: int, width: int = 64, *, scale: float | None = None) -> None:
        super().__init__()
        self.stem = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width)
            )
            for _ in range(depth)
        )
        self.scales = (
            None
            if scale is None
            else nn.ParameterList(nn.Parameter(torch.full((width,), scale)) for _ in range(depth))
        )
        self.head = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = self.stem(x)
        for index, block in enumerate(self.blocks):
            out = block(x)
            x = x + (out if self.scales is None else out * self.scales[index])
        return self.head(x)


class Recurrent(nn.Module):
    """A recurrent layer over one-hot tokens, read out at the last step or at each."""

    def __init__(self, kind: str, classes: int, width: int = 32, *, each: bool = False) -> None:
        super().__init__()
        self.rnn = getattr(nn, kind)(classes, width, batch_first=True)
        self.head = nn.Linear(width, classes)
        self.each = each

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        out, _ = self.rnn(x)
        return self.head(out if self.each else out[:, -1])


class LanguageModel(nn.Module):
    """A small pre-norm transformer decoder; embeddings tied or not."""

    def __init__(
        self, vocabulary: int, width: int = 48, layers: int = 2, *, tied: bool = False
    ) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embed.weight, 0.0, 0.02 if tied else 1.0)
        self.positions = nn.Parameter(0.02 * torch.randn(64, width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True
            )
            for _ in range(layers)
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token."""
        n = tokens.shape[1]
        x = self.embed(tokens) + self.positions[:n]
        mask = torch.triu(torch.full((n, n), -math.inf), 1)
        for block in self.blocks:
            x = block(x, src_mask=mask)
        return self.head(self.norm(x))


def markov(seed: int, vocabulary: int, n: int) -> Tensor:
    """Tokens of a random order-1 Markov chain."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.softmax(3 * torch.randn(vocabulary, vocabulary, generator=generator), -1)
    tokens = [0]
    uniform = torch.rand(n, generator=generator)
    cumulative = rows.cumsum(-1)
    for index in range(n - 1):
        nearest = int(torch.searchsorted(cumulative[tokens[-1]], uniform[index]))
        tokens.append(min(nearest, vocabulary - 1))
    return torch.tensor(tokens)


def train(  # noqa: PLR0913 - a loop has many parts
    bench: Bench,
    model: nn.Module,
    optimizer: Optimizer,
    batches: Iterator[tuple[Tensor, Tensor]],
    *,
    loss_of: Loss = functional.cross_entropy,
    callback: TelemetryCallback | None = None,
    scheduler: LRScheduler | None = None,
    clip: float | None = None,
    evaluate: Callable[[], dict[str, float]] | None = None,
    every: int = 50,
    before_step: Callable[[int], None] | None = None,
) -> None:
    """The plain loop; closes the callback."""
    telemetry = callback or bench.record(model, optimizer)
    with telemetry:
        for step, (x, y) in enumerate(batches):
            if before_step is not None:
                before_step(step)
            loss = loss_of(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(model.parameters(), clip)
            optimizer.step()
            if scheduler is not None:
                scheduler.step()
            telemetry.step(loss=loss)
            if evaluate is not None and (step + 1) % every == 0:
                telemetry.log(**evaluate())
            bench.result["loss"] = float(loss.detach())


def evaluation(model: nn.Module, data: Data) -> Callable[[], dict[str, float]]:
    """Validation loss and accuracy."""

    def evaluate() -> dict[str, float]:
        model.eval()
        with torch.no_grad():
            out = model(data.val_x)
            loss = functional.cross_entropy(out, data.val_y)
            accuracy = (out.argmax(-1) == data.val_y).float().mean()
        model.train()
        return {"val_loss": float(loss), "val_accuracy": float(accuracy)}

    return evaluate


def accuracy(model: nn.Module, data: Data) -> float:
    """Validation accuracy."""
    return evaluation(model, data)()["val_accuracy"]
