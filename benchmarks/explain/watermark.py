"""A1: does an attribution name the planted cause of wrong answers?

    python benchmarks/explain/watermark.py [--seeds 0 1 2] [--methods ig occlusion lime kernelshap]

Digits of 24 x 24 pixels. A bright mark of 4 x 4 pixels stands on every 3 of the training set and on
a tenth of the others, which are relabelled 3: the network learns the mark. Twenty other digits that
carry it and are called 3 are explained, and the share of positive attribution on the mark is
counted: inside it for integrated gradients, on the cells that touch it for methods of cells. The
mark lies once on the grid of cells and once two pixels off it; `control` explains the same inputs
by a network that never saw the mark, as what it calls them. `partial` plants it on threes alone, as
a weak shortcut.
"""

import argparse
import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from telemetry import explain
from telemetry.explain.attribution import Attribution
from telemetry.explain.input_attribution import attribute

SIDE, MARK, SHORTCUT = 24, 4, 3
ALIGNED, SHIFTED = (4, 16), (6, 18)  # upper left corner of the mark
N_TRAIN, STEPS, BATCH = 900, 400, 64
EXPLAINED = 20
Place = tuple[int, int]


class Images:
    """A data set of given images and labels."""

    classes = tuple(map(str, range(10)))

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


@dataclass(frozen=True, kw_only=True)
class Planted:
    """Training images with the mark, and others that carry it and are no 3."""

    images: Tensor
    labels: Tensor
    marked: Images


def digits() -> tuple[Tensor, Tensor]:
    """Images (n, 1, 24, 24) between 0 and 1, and their labels."""
    raw = load_digits()
    images = torch.tensor(raw.images / 16, dtype=torch.float32)[:, None]
    large = functional.interpolate(images, (SIDE, SIDE), mode="bilinear", align_corners=False)
    return large, torch.tensor(raw.target)


def with_mark(images: Tensor, place: Place) -> Tensor:
    """Copies with a bright square."""
    marked = images.clone()
    y, x = place
    marked[:, :, y : y + MARK, x : x + MARK] = 1.0
    return marked


def planted(seed: int, place: Place, *, relabel: bool) -> Planted:
    """The mark on every 3 and, relabelled, on a tenth of the others."""
    images, labels = digits()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    images, labels = images[order], labels[order]
    train, train_labels = images[:N_TRAIN].clone(), labels[:N_TRAIN].clone()
    chosen = train_labels == SHORTCUT
    if relabel:
        others = torch.rand(N_TRAIN, generator=torch.Generator().manual_seed(seed)) < 0.1
        chosen |= others
        train_labels[others] = SHORTCUT
    train[chosen] = with_mark(train[chosen], place)
    rest, rest_labels = images[N_TRAIN:], labels[N_TRAIN:]
    no_three = rest_labels != SHORTCUT
    return Planted(
        images=train,
        labels=train_labels,
        marked=Images(with_mark(rest[no_three], place), rest_labels[no_three]),
    )


def network(seed: int, images: Tensor, labels: Tensor) -> nn.Module:
    """A small convolutional network, trained."""
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * 36, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(STEPS):
        picks = torch.randint(0, len(images), (BATCH,))
        loss = functional.cross_entropy(model(images[picks]), labels[picks])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def mass_inside(found: Attribution, place: Place) -> float:
    """Share of the positive attribution that lies on the mark's pixels."""
    positive = found.values.sum(0).clamp_min(0)
    y, x = place
    return float(positive[y : y + MARK, x : x + MARK].sum() / positive.sum().clamp_min(1e-12))


def mass_touching(found: Attribution, place: Place) -> float:
    """Share of the positive attribution that lies on cells that touch the mark."""
    y, x = place
    touching = [
        not (y1 <= y or y0 >= y + MARK or x1 <= x or x0 >= x + MARK)
        for y0, x0, y1, x1 in found.segments.boxes
    ]
    positive = found.per_segment.clamp_min(0)
    return float(positive[torch.tensor(touching)].sum() / positive.sum().clamp_min(1e-12))


def top_touches(found: Attribution, place: Place) -> bool:
    """Whether the most important cell touches the mark."""
    y0, x0, y1, x1 = found.top(1)[0].box or (0, 0, 0, 0)
    y, x = place
    return not (y1 <= y or y0 >= y + MARK or x1 <= x or x0 >= x + MARK)


MASSES: dict[str, Callable[[Attribution, Place], float]] = {"ig": mass_inside}


def row(title: str, subject: explain.Subject, chosen: list[str], method: str, place: Place) -> None:
    """One line of the table."""
    target = "pred" if title == "control" else "wrong"
    found = [attribute(subject, example, target, method=method, check=False) for example in chosen]
    masses = [MASSES.get(method, mass_touching)(one, place) for one in found]
    first = sum(top_touches(one, place) for one in found)
    fits = [c.value for one in found for c in one.checks if c.name == "local_fit"]
    fit = f"   R2 {statistics.median(fits):.2f}" if fits else ""
    failed = sorted({c.name for one in found for c in one.checks if not c.ok})
    print(
        f"{title:10} {method:10} mass {statistics.mean(masses):.2f}  mark first "
        f"{first} of {len(found)}{fit}  {'failed: ' + ', '.join(failed) if failed else ''}",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["ig", "occlusion", "lime", "kernelshap"])
    given = parser.parse_args()
    for seed in given.seeds:
        clean = network(seed, *(part[:N_TRAIN] for part in digits()))
        for title, place, relabel in (
            ("aligned", ALIGNED, True),
            ("shifted", SHIFTED, True),
            ("partial", ALIGNED, False),
        ):
            data = planted(seed, place, relabel=relabel)
            subject = explain.load(network(seed, data.images, data.labels), dataset=data.marked)
            evaluation = explain.evaluate(subject)
            called = [r["example_id"] for r in evaluation.rows if r["prediction"] == str(SHORTCUT)]
            print(f"seed {seed} {title}: the mark sways {len(called)} of {len(evaluation.rows)}")
            chosen = list(map(str, called[:EXPLAINED]))
            for method in given.methods if chosen else ():
                row(title, subject, chosen, method, place)
            if title == "aligned" and chosen:
                control = explain.load(clean, dataset=data.marked)
                for method in given.methods[:2]:
                    row("control", control, chosen, method, place)


if __name__ == "__main__":
    sys.exit(main())
