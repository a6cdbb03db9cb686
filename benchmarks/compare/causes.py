"""Whether `diff` names why two real trainings part, at the default options of the callback.

    python benchmarks/compare/causes.py [--seeds 3] [--only rounding]

Three networks, each trained twice so that one thing differs; the script prints how often it is
named. Trainings run outside of any repository: nothing but the runs tells that the code differs.
"""

import argparse
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from telemetry import TelemetryCallback
from telemetry.compare.diff import read_side
from telemetry.compare.diff.diff import diff_runs
from telemetry.compare.terms import DivergenceKind
from telemetry.store.runs.catalog import load_run
from telemetry.store.runs.run import Run
from telemetry.store.store import Store

N_STEPS = 60
LATE = 37
NETWORKS = ("mlp", "cnn", "transformer")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A training; each field may differ between two."""

    network: str
    initialisation: int
    order: int
    draws: int = 0
    lr: float = 0.01
    weight_decay: float = 0.01
    optimizer: type[torch.optim.Optimizer] = torch.optim.AdamW
    activation: type[nn.Module] = nn.ReLU
    dropout: float = 0.0
    smoothing: float = 0.0
    factor: float = 1.0  # of the scores, inside of the forward
    batch: int = 32
    n_samples: int = 256
    rounding_at: int | None = None


class Network(nn.Module):
    """Scores of 4 classes."""

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.factor = recipe.factor
        self.body = nn.Sequential(*_layers(recipe))
        self.head = nn.Linear(32, 4)

    def forward(self, values: Tensor) -> Tensor:
        """Of shape (batch, 4)."""
        hidden = self.body(values)
        pooled = hidden.mean(1) if hidden.dim() == 3 else hidden
        return self.head(pooled) * self.factor


def _layers(recipe: Recipe) -> list[nn.Module]:
    act, drop = recipe.activation, nn.Dropout(recipe.dropout)
    if recipe.network == "mlp":
        return [nn.Linear(64, 32), nn.BatchNorm1d(32), act(), drop, nn.Linear(32, 32), act()]
    if recipe.network == "cnn":
        first = [nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 8, 3), act(), drop]
        return [*first, nn.Conv2d(8, 8, 3), act(), nn.Flatten(), nn.Linear(128, 32)]
    block = nn.TransformerEncoderLayer(8, 2, 16, dropout=recipe.dropout, batch_first=True)
    return [nn.Unflatten(1, (8, 8)), block, nn.Linear(8, 32), act(), drop]


def trained(recipe: Recipe, store: Path) -> Run:
    """One recorded training."""
    torch.manual_seed(recipe.initialisation)
    model = Network(recipe)
    settings = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    optimizer = recipe.optimizer(model.parameters(), **settings)
    with TelemetryCallback(model, optimizer, store=store) as telemetry:
        torch.manual_seed(recipe.draws)
        for step, (inputs, labels) in zip(range(N_STEPS), _batches(recipe), strict=False):
            scores = model(inputs)
            loss = functional.cross_entropy(scores, labels, label_smoothing=recipe.smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if step == recipe.rounding_at:
                with torch.no_grad():
                    model.head.weight.mul_(1 + 2e-7)
            telemetry.step(loss=loss)
    return load_run(telemetry.path)


def _batches(recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    centres = torch.randn(4, 64, generator=generator)
    labels = torch.randint(0, 4, (256,), generator=generator)
    # So noisy that the loss stays far from zero, where rounding does not show.
    inputs = centres[labels] + 4 * torch.randn(256, 64, generator=generator)
    data = TensorDataset(inputs[: recipe.n_samples], labels[: recipe.n_samples])
    order = torch.Generator().manual_seed(recipe.order)
    loader = DataLoader(data, batch_size=recipe.batch, shuffle=True, generator=order)
    while True:
        yield from loader


def differences(base: Recipe) -> dict[str, tuple[Recipe, Recipe, DivergenceKind]]:
    """By name: two trainings, and why they part."""
    kind = DivergenceKind
    dropped = replace(base, dropout=0.2)
    return {
        "nothing": (base, base, kind.NONE),
        "order of the data": (base, replace(base, order=base.order + 1), kind.DATA),
        "a quarter of the data": (base, replace(base, n_samples=192), kind.DATA),
        "batch size": (base, replace(base, batch=16), kind.DATA),
        "initialisation": (
            base,
            replace(base, initialisation=base.initialisation + 1),
            kind.INITIAL_WEIGHTS,
        ),
        "learning rate + 2 %": (base, replace(base, lr=0.0102), kind.OPTIMIZATION),
        "weight decay": (base, replace(base, weight_decay=0.02), kind.OPTIMIZATION),
        "optimizer": (base, replace(base, optimizer=torch.optim.SGD), kind.OPTIMIZATION),
        "activation": (base, replace(base, activation=nn.GELU), kind.CODE),
        "label smoothing": (base, replace(base, smoothing=0.05), kind.CODE),
        "scores + 1 %": (base, replace(base, factor=1.01), kind.CODE),
        "dropout added": (base, dropped, kind.CODE),
        "numbers drawn by dropout": (dropped, replace(dropped, draws=1), kind.NONDETERMINISM),
        f"rounding in step {LATE}": (base, replace(base, rounding_at=LATE), kind.NONDETERMINISM),
    }


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", default="", help="differences whose name begins so")
    given = parser.parse_args()
    n_seeds = given.seeds
    os.environ["TELEMETRY_COMPACT"] = "off"
    read_side.findings_of = lambda *_: ()  # findings do not say where runs part
    right: Counter[str] = Counter()
    wrong: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        for network in NETWORKS:
            for seed in range(n_seeds):
                base = Recipe(network=network, initialisation=10 * seed, order=10 * seed)
                kept: dict[Recipe, Run] = {}
                for name, (left, other, kind) in differences(base).items():
                    if not name.startswith(given.only):
                        continue
                    if left not in kept:
                        kept[left] = trained(left, Path(folder))
                    pair = kept[left], trained(other, Path(folder))
                    found = diff_runs(Store.open(Path(folder)), *pair).first_divergence
                    right[name] += found.kind is kind
                    print(f"{network} {seed} {name}: {found.kind}", flush=True)
                    if found.kind is not kind:
                        wrong.setdefault(name, []).append(f"{network} {seed}: {found}")
    n_pairs = len(NETWORKS) * n_seeds
    for name in right:
        print(f"{name:28} {right[name]} of {n_pairs}")
        print(*wrong.get(name, []), sep="\n")
    print(f"{'together':28} {sum(right.values())} of {n_pairs * len(right)}")


if __name__ == "__main__":
    main()
