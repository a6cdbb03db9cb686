"""Small models that differ in their last operation, their loss and their targets."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_IN, N_CLASSES, WIDTH, BATCH = 8, 5, 32, 64
PADDING = -100
HEADS: dict[str, Callable[[], nn.Module]] = {
    "": nn.Identity,
    "log_softmax": lambda: nn.LogSoftmax(-1),
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "softmax": lambda: nn.Softmax(-1),
    "tanh": nn.Tanh,
}


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Inputs and what may be asked of them; `scores` has a column for each class."""

    inputs: Tensor
    scores: Tensor

    @property
    def values(self) -> Tensor:
        return self.scores[:, 0]

    @property
    def labels(self) -> Tensor:
        return self.scores.argmax(1)

    @property
    def binary(self) -> Tensor:
        return (self.values > 0).float()


Loss = Callable[[nn.Module, Batch], Tensor]


def squared(model: nn.Module, batch: Batch) -> Tensor:
    return functional.mse_loss(model(batch.inputs)[:, 0], batch.values)


def shifted(model: nn.Module, batch: Batch) -> Tensor:
    """Targets of mean 3; the model is given inputs that say nothing."""
    return functional.mse_loss(model(torch.ones_like(batch.inputs))[:, 0], batch.values + 3)


def all_pairs(model: nn.Module, batch: Batch) -> Tensor:
    """Every answer meets every target: (N, 1) and (N)."""
    return ((model(batch.inputs) - batch.values) ** 2).mean()


def absolute(model: nn.Module, batch: Batch) -> Tensor:
    return functional.mse_loss(model(batch.inputs)[:, 0], batch.values.abs())


def reconstruction(model: nn.Module, batch: Batch) -> Tensor:
    pixels = torch.sigmoid(batch.inputs)
    return functional.mse_loss(model(pixels), pixels)


def binary(model: nn.Module, batch: Batch) -> Tensor:
    return functional.binary_cross_entropy(model(batch.inputs)[:, 0], batch.binary)


def written_binary(model: nn.Module, batch: Batch) -> Tensor:
    p, y = model(batch.inputs)[:, 0], batch.binary
    return -(y * torch.log(p + 1e-7) + (1 - y) * torch.log(1 - p + 1e-7)).mean()


def smoothed(model: nn.Module, batch: Batch) -> Tensor:
    targets = 0.9 * batch.binary + 0.05
    return functional.binary_cross_entropy_with_logits(model(batch.inputs)[:, 0], targets)


def several_labels(model: nn.Module, batch: Batch) -> Tensor:
    targets = (batch.scores > 0).float()
    return functional.binary_cross_entropy_with_logits(model(batch.inputs), targets)


def numbered_binary(model: nn.Module, batch: Batch) -> Tensor:
    targets = batch.labels.float()
    return functional.binary_cross_entropy_with_logits(model(batch.inputs)[:, 0], targets)


def classes(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch.inputs), batch.labels)


def one_class(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch.inputs), 0 * batch.labels + 2)


def picked(model: nn.Module, batch: Batch) -> Tensor:
    rows = functional.log_softmax(model(batch.inputs), 1)
    return -rows.gather(1, batch.labels[:, None]).mean()


def picked_by_one_hot(model: nn.Module, batch: Batch) -> Tensor:
    rows = functional.log_softmax(model(batch.inputs), 1)
    return -rows.gather(1, functional.one_hot(batch.labels, N_CLASSES)).mean()


def distilled(model: nn.Module, batch: Batch) -> Tensor:
    rows = functional.log_softmax(model(batch.inputs), 1)
    return functional.kl_div(rows, functional.softmax(batch.scores, 1), reduction="batchmean")


def padded(model: nn.Module, batch: Batch) -> Tensor:
    """Four tokens a sequence, of which most are padding."""
    scores = model(batch.inputs.reshape(-1, 4, N_IN))
    labels = batch.labels.reshape(-1, 4).clone()
    labels[:, 1:] = PADDING
    return functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), ignore_index=PADDING)


def discriminated(model: nn.Module, batch: Batch) -> Tensor:
    """Real and made examples in calls of their own, each with labels of one class."""
    real, made = model(batch.inputs + 1), model(batch.inputs)
    loss = functional.binary_cross_entropy_with_logits
    return loss(real, torch.ones(BATCH, 1)) + loss(made, torch.zeros(BATCH, 1))


def contrasted(model: nn.Module, batch: Batch) -> Tensor:
    """The right answer of each row is in the first place."""
    first = functional.normalize(model(batch.inputs), dim=1)
    other = functional.normalize(model(batch.inputs + 0.1), dim=1)
    right, wrong = (first * other).sum(1, keepdim=True), first @ first.detach().flip(0).T
    scores = torch.cat([right, wrong], 1) / 0.2
    return functional.cross_entropy(scores, torch.zeros(BATCH, dtype=torch.long))


LOSSES: dict[str, Loss] = {
    each.__name__: each
    for each in (
        *(squared, shifted, all_pairs, absolute, reconstruction, binary, written_binary),
        *(smoothed, several_labels, numbered_binary, classes, one_class, picked),
        *(picked_by_one_hot, distilled, padded, discriminated, contrasted),
    )
}


def train(
    record: Record,
    *,
    seed: int,
    loss: str = "squared",
    head: str = "",
    outputs: int = 1,
    lr: float = 1e-2,
    steps: int = 120,
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        loss: One of `LOSSES`.
        head: Last operation of the model.
        outputs: Its units.
        lr: Learning rate of Adam.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(N_IN, WIDTH), nn.ReLU(), nn.Linear(WIDTH, outputs))
    model.append(HEADS[head]())
    optimizer = torch.optim.Adam(model.parameters(), lr)
    truth = torch.randn(N_IN, N_CLASSES) / N_IN**0.5
    with record(model, optimizer) as telemetry:
        for _ in range(steps):
            inputs = torch.randn(BATCH, N_IN)
            value = LOSSES[loss](model, Batch(inputs=inputs, scores=inputs @ truth))
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            telemetry.step(loss=value)
