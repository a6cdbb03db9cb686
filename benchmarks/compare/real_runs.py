"""Curves of many small real trainings, for the calibration of `diff`: what other seeds really do.

    python benchmarks/compare/real_runs.py [--folder build/compare-runs] [--only digits_cnn]

Four workloads on data that scikit-learn ships. A seed draws the initial weights and the order of
the batches; in `digits_cnn` and `autoencoder` it draws the split into training and validation, too.
Each workload is trained as it is (`base`); with a change that has no effect but other rounding
(`twin`: the learning rate times 1.0001); with one that has next to none but takes runs of equal
seeds further apart (`nudge`: times 1.005); and with a real one (`change`, see `CHANGES`). A file a
workload is kept and not made again.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from sklearn import datasets
from torch import nn
from torch.nn import functional

N_SEEDS = {"base": 200, "twin": 100, "nudge": 60, "change": 60}
FACTORS = {"twin": 1.0001, "nudge": 1.005}  # of the learning rate
CHANGES = {
    "digits_cnn": "learning rate x 0.5",
    "tabular_mlp": "dropout 0.2 added",
    "char_transformer": "learning rate x 0.5",
    "autoencoder": "bottleneck 8 -> 7",
}
CONTEXT = 16  # characters
Arrays = dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """A training to run: `loss_of(batch of indices)`, `evaluate()` gives metrics by name."""

    model: nn.Module
    n_train: int
    loss_of: Callable[[torch.Tensor], torch.Tensor]
    evaluate: Callable[[], dict[str, float]]
    lr: float
    steps: int
    batch: int


def digits_cnn(seed: int, variant: str) -> Task:
    """Classifies 8 x 8 digits; the split is drawn by the seed."""
    data = datasets.load_digits()
    images = torch.tensor(data.images, dtype=torch.float32)[:, None] / 16
    order = np.random.default_rng(seed).permutation(len(images))
    x, y = images[order], torch.tensor(data.target)[order]
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.ReLU(), nn.Flatten(),
        nn.Linear(128, 10),
    )  # fmt: skip
    lr = 0.004 * (0.5 if variant == "change" else 1.0)
    return classifier(model, (x[400:], y[400:]), (x[:400], y[:400]), lr=lr, steps=200, batch=32)


def tabular_mlp(seed: int, variant: str) -> Task:
    """Two classes of 30 standardised features; one split for all seeds."""
    del seed
    data = datasets.load_breast_cancer()
    features = (data.data - data.data.mean(0)) / data.data.std(0)
    order = np.random.default_rng(0).permutation(len(features))
    x = torch.tensor(features, dtype=torch.float32)[order]
    y = torch.tensor(data.target)[order]
    layers = [nn.Linear(30, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2)]
    if variant == "change":
        layers.insert(2, nn.Dropout(0.2))
    model = nn.Sequential(*layers)
    return classifier(model, (x[200:], y[200:]), (x[:200], y[:200]), lr=0.003, steps=200, batch=32)


def char_transformer(seed: int, variant: str) -> Task:
    """Next character of the data sets' descriptions; one split for all seeds."""
    del seed
    loaders = (datasets.load_iris, datasets.load_diabetes, datasets.load_digits)
    text = "".join(load().DESCR for load in loaders)
    letters = sorted(set(text))
    codes = torch.tensor([letters.index(letter) for letter in text])
    windows = codes.unfold(0, CONTEXT + 1, CONTEXT + 1)
    windows = windows[np.random.default_rng(0).permutation(len(windows))]
    train, held_out = windows[60:], windows[:60]
    model = SmallTransformer(len(letters))

    def loss(rows: torch.Tensor) -> torch.Tensor:
        scores = model(rows[:, :-1])
        return functional.cross_entropy(scores.flatten(0, 1), rows[:, 1:].flatten())

    def evaluate() -> dict[str, float]:
        return {"val_loss": loss(held_out).item()}

    lr = 0.01 * (0.5 if variant == "change" else 1.0)
    return Task(
        model=model,
        n_train=len(train),
        loss_of=lambda rows: loss(train[rows]),
        evaluate=evaluate,
        lr=lr,
        steps=120,
        batch=16,
    )


class SmallTransformer(nn.Module):
    """One causal block of width 32."""

    def __init__(self, n_letters: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(n_letters, 32)
        self.place = nn.Parameter(0.02 * torch.randn(CONTEXT, 32))
        self.block = nn.TransformerEncoderLayer(32, 2, 64, dropout=0.1, batch_first=True)
        self.head = nn.Linear(32, n_letters)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(CONTEXT))

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        """Scores of shape (batch, CONTEXT, letters) of codes (batch, CONTEXT)."""
        hidden = self.embed(codes) + self.place
        return self.head(self.block(hidden, src_mask=self.mask))


def autoencoder(seed: int, variant: str) -> Task:
    """Compresses 64 pixels to a few numbers; the split is drawn by the seed."""
    images = torch.tensor(datasets.load_digits().data, dtype=torch.float32) / 16
    x = images[np.random.default_rng(seed).permutation(len(images))]
    width = 7 if variant == "change" else 8
    model = nn.Sequential(
        nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, width), nn.Tanh(), nn.Linear(width, 32),
        nn.Tanh(), nn.Linear(32, 64),
    )  # fmt: skip
    train, held_out = x[400:], x[:400]
    return Task(
        model=model,
        n_train=len(train),
        loss_of=lambda rows: functional.mse_loss(model(train[rows]), train[rows]),
        evaluate=lambda: {"val_mse": functional.mse_loss(model(held_out), held_out).item()},
        lr=0.005,
        steps=250,
        batch=32,
    )


def classifier(
    model: nn.Module,
    train: tuple[torch.Tensor, torch.Tensor],
    held_out: tuple[torch.Tensor, torch.Tensor],
    *,
    lr: float,
    steps: int,
    batch: int,
) -> Task:
    """Cross-entropy training with a held-out loss and accuracy."""

    def evaluate() -> dict[str, float]:
        scores = model(held_out[0])
        return {
            "val_loss": functional.cross_entropy(scores, held_out[1]).item(),
            "val_accuracy": (scores.argmax(1) == held_out[1]).float().mean().item(),
        }

    return Task(
        model=model,
        n_train=len(train[0]),
        loss_of=lambda rows: functional.cross_entropy(model(train[0][rows]), train[1][rows]),
        evaluate=evaluate,
        lr=lr,
        steps=steps,
        batch=batch,
    )


WORKLOADS = {
    "digits_cnn": digits_cnn,
    "tabular_mlp": tabular_mlp,
    "char_transformer": char_transformer,
    "autoencoder": autoencoder,
}


def train(build: Callable[[int, str], Task], seed: int, variant: str) -> Arrays:
    """Curves of one training: `loss` of each step, the others every ten steps."""
    torch.manual_seed(seed)
    task = build(seed, variant)
    lr = task.lr * FACTORS.get(variant, 1.0)
    optimizer = torch.optim.Adam(task.model.parameters(), lr=lr)
    curves: dict[str, list[float]] = {"loss": []}
    order = torch.randperm(task.n_train)
    for step in range(task.steps):
        first = step * task.batch % (task.n_train - task.batch)
        if first < task.batch:
            order = torch.randperm(task.n_train)
        optimizer.zero_grad()
        loss = task.loss_of(order[first : first + task.batch])
        loss.backward()
        optimizer.step()
        curves["loss"].append(loss.item())
        if step % 10 == 9:
            task.model.eval()
            with torch.no_grad():
                for name, value in task.evaluate().items():
                    curves.setdefault(name, []).append(value)
            task.model.train()
    return {name: np.array(values) for name, values in curves.items()}


def record(name: str, folder: Path) -> None:
    """Trains all runs of a workload and keeps `VARIANT/METRIC`, shape (seeds, points)."""
    started = time.perf_counter()
    arrays: Arrays = {}
    for variant, n_seeds in N_SEEDS.items():
        runs = [train(WORKLOADS[name], seed, variant) for seed in range(n_seeds)]
        for metric in runs[0]:
            arrays[f"{variant}/{metric}"] = np.array([run[metric] for run in runs])
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / f"{name}.npz", **arrays)
    seconds = (time.perf_counter() - started) / sum(N_SEEDS.values())
    print(f"{name}: {sum(N_SEEDS.values())} runs, {seconds:.2f} s each")


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/compare-runs"))
    parser.add_argument("--only", choices=sorted(WORKLOADS), default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for name in [arguments.only] if arguments.only else sorted(WORKLOADS):
        if not (arguments.folder / f"{name}.npz").exists():
            record(name, arguments.folder)


if __name__ == "__main__":
    main()
