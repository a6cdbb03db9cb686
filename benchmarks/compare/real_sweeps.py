"""Six random searches over small real trainings, in each of which one parameter must decide.

    python benchmarks/compare/real_sweeps.py [--folder build/sweeps] [--runs 32]

What decides is known by construction: one parameter spans what changes a training altogether, the
others little, and `log_every` is drawn but used by nothing. Recorded through the callback, on data
that scikit-learn ships; a sweep that is there is not made again.
"""

import argparse
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from sklearn import datasets
from torch import nn
from torch.nn import functional

from telemetry import TelemetryCallback
from telemetry.json_values import Json

N_STEPS = 150
STEPS_PER_EVALUATION = 15
IRRELEVANT = "log_every"
Settings = Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network, its optimizer and a batch size."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    batch: int = 64
    data_share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RealSweep:
    """A random search: what is drawn, what is trained, what must come out.

    `failing` is the condition under which runs fail, as the parameter and the relation or the
    value of the rule that must be named; None where failures are not the point.
    """

    draw: Callable[[np.random.Generator], dict[str, Json]]
    build: Callable[[Settings], Model]
    decides: str
    failing: tuple[str, str] | None = None
    regression: bool = False


def mlp(widths: list[int], activation: type[nn.Module] = nn.ReLU) -> nn.Sequential:
    """Linear layers with an activation between."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths[:-1]):
        layers += [nn.Linear(n_in, n_out), activation()]
    return nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1]))


def log_uniform(generator: np.random.Generator, low: float, high: float) -> float:
    """Uniform over decades."""
    return float(10 ** generator.uniform(np.log10(low), np.log10(high)))


def number(settings: Settings, name: str) -> float:
    """A numeric setting."""
    return float(str(settings[name]))


def sgd_digits(settings: Settings) -> Model:
    """The learning rate of plain SGD spans six decades; large ones explode."""
    network = mlp([64, int(number(settings, "width")), 10])
    return Model(
        network=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=number(settings, "lr")),
        batch=int(number(settings, "batch")),
    )


def deep_digits(settings: Settings) -> Model:
    """Nine layers, which a sigmoid does not let the gradient through."""
    kinds = {"relu": nn.ReLU, "tanh": nn.Tanh, "sigmoid": nn.Sigmoid}
    network = mlp([64, *[32] * 8, 10], kinds[str(settings["activation"])])
    return Model(
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=number(settings, "lr")),
    )


def scaled_digits(settings: Settings) -> Model:
    """The initial weights are scaled over four decades."""
    network = mlp([64, int(number(settings, "width")), 32, 10])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(number(settings, "init_scale"))
    return Model(
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=number(settings, "lr")),
    )


def decayed_regression(settings: Settings) -> Model:
    """Weight decay spans six decades; the largest holds the weights at zero."""
    network = mlp([10, int(number(settings, "width")), 1])
    return Model(
        network=network,
        optimizer=torch.optim.AdamW(
            network.parameters(),
            lr=number(settings, "lr"),
            weight_decay=number(settings, "weight_decay"),
        ),
    )


def few_digits(settings: Settings) -> Model:
    """A share of the training data, from one per cent to all."""
    network = nn.Sequential(
        mlp([64, 48, 32], nn.ReLU), nn.Dropout(number(settings, "dropout")), nn.Linear(32, 10)
    )
    return Model(
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=number(settings, "lr")),
        data_share=number(settings, "data_share"),
    )


def two_optimizers(settings: Settings) -> Model:
    """Adam learns at these learning rates, SGD hardly does, whatever its momentum."""
    network = mlp([64, 48, 10])
    lr = number(settings, "lr")
    if settings["optimizer"] == "adam":
        return Model(network=network, optimizer=torch.optim.Adam(network.parameters(), lr=lr))
    momentum = number(settings, "momentum")
    sgd = torch.optim.SGD(network.parameters(), lr=lr, momentum=momentum)
    return Model(network=network, optimizer=sgd)


def _with_momentum(generator: np.random.Generator) -> dict[str, Json]:
    drawn: dict[str, Json] = {
        "optimizer": str(generator.choice(["sgd", "adam"])),
        "lr": log_uniform(generator, 1e-3, 3e-3),
    }
    if drawn["optimizer"] == "sgd":
        drawn["momentum"] = float(generator.uniform(0, 0.5))
    return drawn


SWEEPS: dict[str, RealSweep] = {
    "sgd_digits": RealSweep(
        draw=lambda g: {
            "lr": log_uniform(g, 1e-4, 1e2),
            "width": int(g.choice([32, 48, 64])),
            "batch": int(g.choice([32, 48])),
        },
        build=sgd_digits,
        decides="lr",
        failing=("lr", ">="),
    ),
    "deep_digits": RealSweep(
        draw=lambda g: {
            "activation": str(g.choice(["relu", "tanh", "sigmoid"])),
            "lr": log_uniform(g, 1e-3, 3e-3),
        },
        build=deep_digits,
        decides="activation",
        failing=("activation", "sigmoid"),
    ),
    "scaled_digits": RealSweep(
        draw=lambda g: {
            "init_scale": log_uniform(g, 1e-3, 30),
            "width": int(g.choice([32, 48, 64])),
            "lr": log_uniform(g, 1e-3, 2e-3),
        },
        build=scaled_digits,
        decides="init_scale",
    ),
    "decayed_regression": RealSweep(
        draw=lambda g: {
            "weight_decay": log_uniform(g, 1e-4, 1e2),
            "width": int(g.choice([16, 24, 32])),
            "lr": log_uniform(g, 8e-3, 1.2e-2),
        },
        build=decayed_regression,
        decides="weight_decay",
        regression=True,
    ),
    "few_digits": RealSweep(
        draw=lambda g: {
            "data_share": log_uniform(g, 0.01, 1),
            "dropout": float(g.choice([0.0, 0.1])),
            "lr": log_uniform(g, 1e-3, 2e-3),
        },
        build=few_digits,
        decides="data_share",
    ),
    "two_optimizers": RealSweep(draw=_with_momentum, build=two_optimizers, decides="optimizer"),
}


def record(name: str, sweep: RealSweep, store: Path, n_runs: int) -> None:
    """Train every run of a sweep, each with weights and batches of its own."""
    data = datasets.load_diabetes() if sweep.regression else datasets.load_digits()
    order = np.random.default_rng(0).permutation(len(data.data))
    features = (data.data - data.data.mean(0)) / (data.data.std(0) + 1e-6)
    x = torch.tensor(features, dtype=torch.float32)[order]
    target = torch.tensor(data.target)[order]
    y = ((target - target.mean()) / target.std()).float()[:, None] if sweep.regression else target
    n_held_out = len(x) // 4
    loss_of = functional.mse_loss if sweep.regression else functional.cross_entropy
    generator = np.random.default_rng(20260102 + sorted(SWEEPS).index(name))
    for seed in range(n_runs):
        drawn = {
            **sweep.draw(generator),
            IRRELEVANT: int(generator.choice([10, 20, 50])),
            "seed": seed,
        }
        torch.manual_seed(seed)
        model = sweep.build(drawn)
        n_train = max(8, int(model.data_share * (len(x) - n_held_out)))
        telemetry = TelemetryCallback(
            model.network,
            model.optimizer,
            store=store,
            project=name,
            name=f"{name}-{seed}",
            config=drawn,
            total_steps=N_STEPS,
        )
        for step in range(N_STEPS):
            rows = n_held_out + torch.randint(n_train, (model.batch,))
            model.optimizer.zero_grad()
            loss = loss_of(model.network(x[rows]), y[rows])
            loss.backward()
            model.optimizer.step()
            if (step + 1) % STEPS_PER_EVALUATION == 0:
                model.network.eval()
                with torch.no_grad():
                    held_out = loss_of(model.network(x[:n_held_out]), y[:n_held_out])
                model.network.train()
                telemetry.log(val_loss=held_out.item())
            telemetry.step(loss=loss)
        telemetry.close()


def recorded(folder: Path, n_runs: int) -> dict[str, Path]:
    """The store of each sweep, made where it is missing."""
    torch.set_num_threads(1)
    for name, sweep in SWEEPS.items():
        done = folder / name / "complete"
        if not done.exists():
            start = time.perf_counter()
            record(name, sweep, folder / name, n_runs)
            done.touch()
            print(f"{name}: {n_runs} runs in {time.perf_counter() - start:.0f} s", flush=True)
    return {name: folder / name for name in SWEEPS}


def main() -> None:
    """Record what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/sweeps"))
    parser.add_argument("--runs", type=int, default=32)
    asked = parser.parse_args()
    recorded(asked.folder, asked.runs)


if __name__ == "__main__":
    main()
