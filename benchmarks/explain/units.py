"""A8 and A11: pictures made for units are worth something, and layers settle where they do.

    python benchmarks/explain/units.py [--seeds 30 31 32]

Digits of 24 x 24 pixels, a network of three convolutions trained for 400 steps on 900 of them.
Pictures are made for every logit and every channel, and for the same units before training.
For the evolution the first convolution is frozen at step 0; checkpoints lie at powers of two.
"""

import argparse
import statistics
import sys
import tempfile
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from watermark import BATCH, N_TRAIN, STEPS, Images, digits

from telemetry import explain
from telemetry.explain.units.dream_checks import mean_correlation
from telemetry.explain.units.dreams import Dream
from telemetry.requests.explain.dream import DreamSettings

LAYERS = {"c2": "3", "c3": "6", "logits": "9"}
UNITS = {"c2": 16, "c3": 32, "logits": 10}
FROZEN = "0."
MOMENTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, STEPS)


def build(seed: int) -> nn.Module:
    """Three convolutions of 8, 16 and 32 channels and a linear layer over their means."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * 36, 10),
    )


def train(seed: int, images: Tensor, labels: Tensor, folder: Path, frozen: str = "") -> nn.Module:
    """Train by Adam, and keep checkpoints."""
    model = build(seed)
    trained = [
        parameter
        for name, parameter in model.named_parameters()
        if not (frozen and name.startswith(frozen))
    ]
    optimizer = torch.optim.Adam(trained, lr=3e-3)
    generator = torch.Generator().manual_seed(seed)
    for step in range(STEPS + 1):
        if step in MOMENTS:
            content = {"step": step, "model": model.state_dict()}
            torch.save(content, folder / f"{step:04}.pt")
        batch = torch.randint(0, len(images), (BATCH,), generator=generator)
        loss = functional.cross_entropy(model(images[batch]), labels[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def report(title: str, found: Sequence[Dream]) -> None:
    """One line of a layer."""
    n = len(found)
    own = sum(entry.best_unit == entry.unit.index for entry in found)
    checks = {check.name: 0 for entry in found for check in entry.checks}
    for entry in found:
        for check in entry.checks:
            checks[check.name] += check.ok
    correlations = [entry.seed_correlation or 0.0 for entry in found]
    different = [
        mean_correlation(one.pictures, other.pictures) for one, other in combinations(found, 2)
    ]
    p95 = torch.quantile(torch.tensor(different), 0.95)
    passed = ", ".join(f"{name} {count}/{n}" for name, count in checks.items())
    sys.stdout.write(
        f"{title}: z {min(entry.z for entry in found):.1f} least, untrained "
        f"{statistics.median(entry.random_z for entry in found):.1f}; own picture best {own}/{n}; "
        f"seeds correlate {statistics.mean(correlations):.2f}, units {float(p95):.2f} at 95 %; "
        f"{passed}; dead "
        f"{sum(entry.is_dead for entry in found)}; begun as a real example "
        f"{sum(entry.from_real for entry in found)}; {found[0].forwards} forwards, "
        f"{found[0].seconds:.1f} s\n"
    )


def main() -> None:
    """Print a line for each seed and layer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, nargs="+", default=[30, 31, 32])
    arguments = parser.parse_args()
    images, labels = digits()
    for seed in arguments.seeds:
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(seed))
        train_on, rest = order[:N_TRAIN], order[N_TRAIN:]
        data = Images(images[rest], labels[rest])
        with tempfile.TemporaryDirectory() as folder:
            model = train(seed, images[train_on], labels[train_on], Path(folder))
            with torch.no_grad():
                right = (model(data.images).argmax(1) == data.labels).float().mean()
            sys.stdout.write(f"seed {seed}: {100 * float(right):.1f} % right\n")
            subject = explain.load(model, dataset=data)
            for name, layer in LAYERS.items():
                units = [str(unit) for unit in range(UNITS[name])]
                report(f"  {name}", explain.dream(subject, layer, units, DreamSettings()))
        with tempfile.TemporaryDirectory() as folder:
            model = train(seed, images[train_on], labels[train_on], Path(folder), FROZEN)
            files = sorted(Path(folder).glob("*.pt"))
            evolved = explain.evolution(explain.load(model, dataset=data), files)
            for course in evolved.courses:
                settled = course.settled(evolved.steps)
                sys.stdout.write(
                    f"  layer {course.layer}: settled at {settled}, 1 - CKA at first "
                    f"{course.changes[0]:.3f}, at last {course.changes[-1]:.1e}\n"
                )


if __name__ == "__main__":
    main()
