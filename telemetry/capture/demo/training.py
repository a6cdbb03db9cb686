"""The small trainings of `telemetry demo`: handwritten digits, real data and real faults.

Each experiment is an ordinary PyTorch loop around one `TelemetryCallback`; nothing in it helps the
diagnosis along.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from telemetry.capture.callback import TelemetryCallback
from telemetry.errors import CaptureError

BATCH_SIZE = 64
N_VALIDATION = 360  # of 1,797 images
STEPS_PER_EVALUATION = 20
IMAGE_SIDE = 8
N_CLASSES = 10
MAIN_PROJECT = "demo"
SWEEP_PROJECT = "demo-sweep"


class Network(StrEnum):
    """Which model an experiment trains."""

    CONVNET = "convnet"
    DEEP_SIGMOID = "deep_sigmoid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hyperparameters:
    """What is recorded as the run's configuration."""

    network: Network = Network.CONVNET
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    width: int = 16
    dropout: float = 0.2
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """One run of the demo: where it is filed, what it trains and for how many steps."""

    name: str
    steps: int
    project: str = MAIN_PROJECT
    tags: tuple[str, ...] = ()
    settings: Hyperparameters = Hyperparameters()


@dataclass(frozen=True, slots=True, kw_only=True)
class Digits:
    """Standardised images (n, 1, 8, 8) and labels (n,) of both halves of the data."""

    train_images: Tensor
    train_labels: Tensor
    validation_images: Tensor
    validation_labels: Tensor


def read_digits() -> Digits:
    """The handwritten digits that scikit-learn ships, split the same way every time."""
    source = load_digits()
    images = torch.tensor(source.images, dtype=torch.float32).unsqueeze(1)
    labels = torch.tensor(source.target)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    validation, train = order[:N_VALIDATION], order[N_VALIDATION:]
    images = (images - images[train].mean()) / images[train].std()
    return Digits(
        train_images=images[train],
        train_labels=labels[train],
        validation_images=images[validation],
        validation_labels=labels[validation],
    )


def convnet(settings: Hyperparameters) -> nn.Sequential:
    """Two convolutions and two linear layers, in the framework's default initialisation."""
    width = settings.width
    n_features = 2 * width * (IMAGE_SIDE // 2) ** 2
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, width, kernel_size=3, padding=1),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(width, 2 * width, kernel_size=3, padding=1),
            relu2=nn.ReLU(),
            pool=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            hidden=nn.Linear(n_features, 64),
            relu3=nn.ReLU(),
            dropout=nn.Dropout(settings.dropout),
            head=nn.Linear(64, N_CLASSES),
        )
    )


def deep_sigmoid(settings: Hyperparameters, *, n_hidden: int = 9) -> nn.Sequential:
    """Nine sigmoid layers: each divides the gradient by at least four on its way to the first."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(flatten=nn.Flatten())
    n_inputs = IMAGE_SIDE**2
    for number in range(1, n_hidden + 1):
        layers[f"hidden{number}"] = nn.Linear(n_inputs, settings.width)
        layers[f"sigmoid{number}"] = nn.Sigmoid()
        n_inputs = settings.width
    layers["head"] = nn.Linear(n_inputs, N_CLASSES)
    return nn.Sequential(layers)


BUILDERS: dict[Network, Callable[[Hyperparameters], nn.Sequential]] = {
    Network.CONVNET: convnet,
    Network.DEEP_SIGMOID: deep_sigmoid,
}


def train(
    experiment: Experiment, digits: Digits, store: Path, on_steps: Callable[[int], None]
) -> str:
    """Train one experiment and record it.

    Args:
        experiment: What to train.
        digits: The data.
        store: Folder that receives the run.
        on_steps: Called with the number of steps done since its last call.

    Returns:
        The id of the recorded run.

    Raises:
        CaptureError: the store cannot be written.
    """
    settings = experiment.settings
    torch.manual_seed(settings.seed)
    model = BUILDERS[settings.network](settings)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    with TelemetryCallback(
        model,
        optimizer,
        store=store,
        project=experiment.project,
        name=experiment.name,
        tags=experiment.tags,
        config={**asdict(settings), "batch_size": BATCH_SIZE},
        total_steps=experiment.steps,
        quiet=True,
    ) as telemetry:
        if telemetry.run is None:
            raise CaptureError(f"{store}: runs cannot be recorded here; choose another --store.")
        for step, (images, labels) in enumerate(_batches(digits, experiment.steps), start=1):
            loss = nn.functional.cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it so
            optimizer.step()
            telemetry.step(loss=loss)
            if step % STEPS_PER_EVALUATION == 0 or step == experiment.steps:
                val_loss, val_accuracy = evaluate(model, digits)
                telemetry.log(val_loss=val_loss, val_accuracy=val_accuracy)
                on_steps(step % STEPS_PER_EVALUATION or STEPS_PER_EVALUATION)
        return telemetry.run


def _batches(digits: Digits, n_steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches over as many epochs as `n_steps` needs."""
    n_train = len(digits.train_labels)
    steps_per_epoch = math.ceil(n_train / BATCH_SIZE)
    for step in range(n_steps):
        place = step % steps_per_epoch
        if place == 0:
            order = torch.randperm(n_train)
        chosen = order[place * BATCH_SIZE : (place + 1) * BATCH_SIZE]
        yield digits.train_images[chosen], digits.train_labels[chosen]


def evaluate(model: nn.Module, digits: Digits) -> tuple[float, float]:
    """Cross-entropy and accuracy on the validation half; the model is left in training mode."""
    model.eval()
    with torch.no_grad():
        logits = model(digits.validation_images)
        loss = nn.functional.cross_entropy(logits, digits.validation_labels)
        hits = logits.argmax(dim=1) == digits.validation_labels
    model.train()
    return loss.item(), hits.float().mean().item()
