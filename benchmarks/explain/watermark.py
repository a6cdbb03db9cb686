"""A1: does an attribution name the planted cause of wrong answers, and say how strong it is?

    python benchmarks/explain/watermark.py [--seeds 0 1 2] [--methods ig lime ...]
        [--explained 20]

Digits of 24 x 24 pixels. A bright mark of 4 x 4 pixels stands on every 3 of the training set and on
a tenth of the others, which are relabelled 3: the network learns the mark. Other digits that
carry it and are called 3 are explained, and the share of positive attribution on the mark is
counted: inside it for integrated gradients, on the cells that touch it for methods of cells. The
mark lies once on the grid of cells (`aligned`) and once two pixels off it (`shifted`).

Two networks without the shortcut are asked about the same inputs, as what they call them: `seen`
saw the mark on a random fifth of the training images, whatever their digit; `never` saw none, so
that the mark is bright pixels where there never were any. `partial` plants a weaker shortcut: the
mark on threes alone, on a share of them. Of each network it is said how many marked images it calls
3, and of how many the mark changes the answer.
"""

import argparse
import statistics
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional

from telemetry import explain
from telemetry.explain.attribution.attribution import Attribution

SIDE, MARK, SHORTCUT = 24, 4, 3
ALIGNED, SHIFTED = (4, 16), (6, 18)  # upper left corner of the mark
N_TRAIN, STEPS, BATCH = 900, 400, 64
OTHERS, SEEN = 0.1, 0.2  # shares of the training images
SHARES = (0.5, 0.75, 1.0)  # of the threes
CONTROLS = ("seen", "never")
CHEAP = ("ig", "occlusion")  # asked of every network
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
class Split:
    """Digits in the random order of a seed: the first train, of the others all but threes ask."""

    train: Tensor
    train_labels: Tensor
    asked: Tensor
    asked_labels: Tensor

    def marked(self, place: Place) -> Images:
        """Images with the mark that are no 3."""
        return Images(with_mark(self.asked, place), self.asked_labels)


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


def split(seed: int) -> Split:
    """The digits of a seed."""
    images, labels = digits()
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(images)))
    images, labels = images[order], labels[order]
    no_three = labels[N_TRAIN:] != SHORTCUT
    return Split(
        train=images[:N_TRAIN],
        train_labels=labels[:N_TRAIN],
        asked=images[N_TRAIN:][no_three],
        asked_labels=labels[N_TRAIN:][no_three],
    )


def some(share: float, seed: int) -> Tensor:
    """A random share of the training images, bool."""
    return torch.rand(N_TRAIN, generator=torch.Generator().manual_seed(seed)) < share


def trained_on(seed: int, data: Split, place: Place, chosen: Tensor, labels: Tensor) -> nn.Module:
    """A network that saw the mark on the chosen images."""
    train = data.train.clone()
    train[chosen] = with_mark(train[chosen], place)
    return network(seed, train, labels)


def shortcut(seed: int, data: Split, place: Place) -> nn.Module:
    """The mark on every 3 and, relabelled, on a tenth of the others."""
    others, labels = some(OTHERS, seed), data.train_labels.clone()
    labels[others] = SHORTCUT
    return trained_on(seed, data, place, labels == SHORTCUT, labels)


def partial(seed: int, data: Split, place: Place, share: float) -> nn.Module:
    """The mark on a share of the threes alone."""
    chosen = (data.train_labels == SHORTCUT) & some(share, seed)
    return trained_on(seed, data, place, chosen, data.train_labels)


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
    target = "pred" if title in CONTROLS else "wrong"
    found = [
        explain.attribute(subject, example, target, method=method, check=False)
        for example in chosen
    ]
    masses = [MASSES.get(method, mass_touching)(one, place) for one in found]
    first = sum(top_touches(one, place) for one in found)
    fits = [c.value for one in found for c in one.checks if c.name == "local_fit"]
    fit = f"   R2 median {statistics.median(fits):.2f} least {min(fits):.2f}" if fits else ""
    failed = Counter(c.name for one in found for c in one.checks if not c.ok)
    said = ", ".join(f"{name} {count}" for name, count in failed.items())
    print(
        f"{title:10} {method:10} mass {statistics.mean(masses):.2f}  mark first "
        f"{first} of {len(found)}{fit}  {'failed: ' + said if said else ''}",
        flush=True,
    )


def called_three(title: str, model: nn.Module, data: Split, place: Place) -> list[str]:
    """Places of the marked images that are called 3; says how many, and how many the mark sways."""
    with torch.no_grad():
        plain = model(data.asked).argmax(1)
        marked = model(with_mark(data.asked, place)).argmax(1)
    n, called = len(plain), marked == SHORTCUT
    print(
        f"{title}: {100 * called.float().mean():.1f} % of {n} marked images are called 3, "
        f"{100 * (called & (plain != SHORTCUT)).float().mean():.1f} % for the mark; it changes "
        f"{100 * (plain != marked).float().mean():.1f} % of the answers",
        flush=True,
    )
    return [str(index) for index in called.nonzero().flatten().tolist()]


def controls(seed: int, data: Split, place: Place) -> dict[str, nn.Module]:
    """Networks for which the mark means nothing."""
    none = torch.zeros(N_TRAIN, dtype=torch.bool)
    labels = data.train_labels
    return {
        "seen": trained_on(seed, data, place, some(SEEN, seed), labels),
        "never": trained_on(seed, data, place, none, labels),
    }


def strong(seed: int, data: Split, methods: list[str], n: int) -> None:
    """Lines of the shortcut, and of the networks that lack it."""
    for title, place in (("aligned", ALIGNED), ("shifted", SHIFTED)):
        model = shortcut(seed, data, place)
        chosen = called_three(title, model, data, place)[:n]
        subject = explain.load(model, dataset=data.marked(place))
        for method in methods:
            row(title, subject, chosen, method, place)
        cheap = [method for method in methods if method in CHEAP and title == "aligned"]
        for name, other in controls(seed, data, place).items() if cheap else ():
            called_three(name, other, data, place)
            subject = explain.load(other, dataset=data.marked(place))
            for method in cheap:
                row(name, subject, chosen, method, place)


def weak(seed: int, data: Split, methods: list[str], n: int) -> None:
    """Lines of weaker shortcuts."""
    cheap = [method for method in methods if method in CHEAP]
    for share in SHARES if cheap else ():
        model = partial(seed, data, ALIGNED, share)
        name = f"partial, {share:.0%} of the threes"
        chosen = called_three(name, model, data, ALIGNED)[:n]
        subject = explain.load(model, dataset=data.marked(ALIGNED))
        for method in cheap if chosen else ():
            row("partial", subject, chosen, method, ALIGNED)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["ig", "occlusion", "lime", "kernelshap"])
    parser.add_argument("--explained", type=int, default=20, help="Inputs of each network.")
    given = parser.parse_args()
    for seed in given.seeds:
        print(f"seed {seed}")
        data = split(seed)
        strong(seed, data, given.methods, given.explained)
        weak(seed, data, given.methods, given.explained)


if __name__ == "__main__":
    sys.exit(main())
