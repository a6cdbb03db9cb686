"""A3: does `explain reduce` find the pixels, the token, the column that made an answer wrong?

    python benchmarks/explain/covered.py [--seeds 63 64 65] [--cases 60]

Images: signs of 32 x 32 pixels before coloured backgrounds, red octagons with a white bar, without
one, blue discs, yellow triangles. A network learns them. A sticker covers the bar (`bar`), or any
place (`any`, with a colour of its own); where the answer turns wrong, the right twin is the same
sign before another background, in other light and with other noise. The truth is where the sticker
changed a channel by more than 0.3.

Texts: a token that stood in positive texts of the training alone stands in a negative one; the twin
lacks it and differs in three other tokens. Rows: a column that told the class in training tells the
wrong one; the twin is the nearest right row, which differs in all columns.
"""

import argparse
import statistics
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import explain
from telemetry.errors import Inconclusive
from telemetry.explain.reduction.differences import Cells
from telemetry.explain.reduction.reduction import reduce
from telemetry.explain.reduction.result import Reduction
from telemetry.requests.explain.reduce import ReduceSettings

SIDE, CLASSES = 32, ("barred", "plain", "disc", "triangle")
CHANGED = 0.3
TOKENS, LENGTH, LEAK = 60, 24, 7
COLUMNS = 8
TRUE_SIGN = 0.7  # of the texts have a token that tells their class rightly


class Given:
    """A data set of given inputs and labels."""

    def __init__(self, inputs: list[Tensor], labels: list[int], modality: str) -> None:
        self.inputs, self.labels, self.modality = inputs, labels, modality

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.inputs[index], self.labels[index]

    def example_id(self, index: int) -> str:
        """Equal inputs are told apart by it."""
        return f"e{index}"


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Where a sign stands and how large it is."""

    label: int
    y: float
    x: float
    radius: float


def uniform(generator: torch.Generator, low: float, high: float, *shape: int) -> Tensor:
    """Random numbers of a range."""
    return low + (high - low) * torch.rand(*shape, generator=generator)


def scene(generator: torch.Generator, label: int) -> Scene:
    """A sign near the middle."""
    y, x = uniform(generator, 14.0, 17.0, 2).tolist()
    return Scene(label=label, y=y, x=x, radius=float(uniform(generator, 10.0, 13.0, 1)))


def bar(found: Scene) -> Tensor:
    """Where the white bar of a sign lies, (32, 32)."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    inside = (y - found.y).abs() <= found.radius * 0.22
    return inside & ((x - found.x).abs() <= found.radius * 0.65)


def drawn(generator: torch.Generator, found: Scene) -> Tensor:
    """The sign in a light and before a background of its own, without noise, (3, 32, 32)."""
    y, x = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    dy, dx = (y - found.y).abs(), (x - found.x).abs()
    octagon = (torch.maximum(dy, dx) <= found.radius) & (dy + dx <= 1.41 * found.radius)
    disc = dy**2 + dx**2 <= found.radius**2
    triangle = (y - found.y <= found.radius * 0.8) & (dx <= (y - found.y + found.radius) * 0.55)
    shapes = (octagon, octagon, disc, triangle)
    colours = ((0.8, 0.1, 0.1), (0.8, 0.1, 0.1), (0.1, 0.2, 0.8), (0.9, 0.8, 0.1))
    image = uniform(generator, 0.2, 0.7, 3)[:, None, None].expand(3, SIDE, SIDE).clone()
    image[:, shapes[found.label]] = torch.tensor(colours[found.label])[:, None]
    if found.label == 0:
        image[:, bar(found)] = 0.95
    return image


def shot(generator: torch.Generator, image: Tensor) -> Tensor:
    """The image in some light and with noise."""
    noise = 0.03 * torch.randn(image.shape, generator=generator)
    return (image + float(uniform(generator, -0.1, 0.1, 1)) + noise).clamp(0, 1)


def sign_network(seed: int) -> nn.Module:
    """A network that tells the four signs."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (1200,), generator=generator)
    images = torch.stack(
        [shot(generator, drawn(generator, scene(generator, int(label)))) for label in labels]
    )
    torch.manual_seed(seed)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 64, 32),
        nn.ReLU(),
        nn.Linear(32, 4),
    )
    return trained(model, images, labels, steps=300)


def trained(model: nn.Module, inputs: Tensor, labels: Tensor, steps: int) -> nn.Module:
    """The model after some steps of Adam."""
    optimizer = torch.optim.Adam(model.parameters(), 2e-3)
    for _ in range(steps):
        picks = torch.randint(0, len(inputs), (64,))
        loss = functional.cross_entropy(model(inputs[picks]), labels[picks])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def bar_sticker(generator: torch.Generator, found: Scene) -> tuple[Tensor, Tensor]:
    """Mask and colour of a red sticker over most of the bar."""
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    height = float(uniform(generator, 0.25, 0.35, 1)) * found.radius
    width = float(uniform(generator, 0.55, 0.75, 1)) * found.radius
    x = found.x + float(uniform(generator, -0.1, 0.1, 1)) * found.radius
    mask[int(found.y - height) : int(found.y + height) + 1, int(x - width) : int(x + width) + 1] = (
        True
    )
    return mask, torch.tensor([0.8, 0.1, 0.1])


def any_sticker(generator: torch.Generator, _found: Scene) -> tuple[Tensor, Tensor]:
    """Mask and colour of a sticker anywhere."""
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    height, width = torch.randint(5, 13, (2,), generator=generator).tolist()
    y, x = torch.randint(2, SIDE - 13, (2,), generator=generator).tolist()
    mask[y : y + height, x : x + width] = True
    return mask, torch.rand(3, generator=generator)


def covered(
    seed: int,
    model: nn.Module,
    sticker: Callable[[torch.Generator, Scene], tuple[Tensor, Tensor]],
    cases: int,
) -> Iterator[tuple[Tensor, Tensor, Tensor, int]]:
    """Wrong images, right twins, changed pixels and labels; of plants that change the answer."""
    generator = torch.Generator().manual_seed(1000 + seed)
    found = 0
    for _ in range(40 * cases):
        place = scene(
            generator,
            0 if sticker is bar_sticker else int(torch.randint(0, 4, (1,), generator=generator)),
        )
        before = shot(generator, drawn(generator, place))
        mask, colour = sticker(generator, place)
        wrong = torch.where(mask, colour[:, None, None], before)
        twin = shot(generator, drawn(generator, place))
        changed = ((wrong - before).abs() > CHANGED).any(0)
        with torch.no_grad():
            answers = model(torch.stack([before, wrong, twin])).argmax(1).tolist()
        if answers == [place.label, answers[1], place.label] and answers[1] != place.label:
            found += 1
            yield wrong, twin, changed, place.label
        if found == cases:
            return


def iou(first: Tensor, second: Tensor) -> float:
    """Intersection over union of two masks."""
    return float((first & second).sum() / (first | second).sum().clamp_min(1))


def one_minimal(found: Reduction, model: nn.Module, label: int) -> bool:
    """Whether without any one of its cells the repair no longer mends."""
    items = found.repair.items if found.repair else ()
    fewer = [found.differences.mixed([i for i in items if i != item]) for item in items]
    with torch.no_grad():
        return bool((model(torch.stack(fewer)).argmax(1) != label).all())


def images(seed: int, cases: int) -> None:
    """Two lines: stickers over the bar, and anywhere."""
    model = sign_network(seed)
    for title, sticker in (("bar", bar_sticker), ("any", any_sticker)):
        overlaps, shares, calls, failed, minimal, refused, n_cases = [], [], [], [], 0, 0, 0
        for wrong, twin, changed, label in covered(seed, model, sticker, cases):
            n_cases += 1
            subject = explain.load(model, dataset=Given([wrong, twin], [label] * 2, "image"))
            try:
                found = reduce(subject, "0", "1", ReduceSettings(mode="repair"))
            except Inconclusive:
                refused += 1
                continue
            assert isinstance(found.differences, Cells)  # noqa: S101 - they are images
            region = found.differences.mask(found.region)
            overlaps.append(iou(region, changed))
            shares.append(float(region.double().mean()))
            calls.append(found.calls)
            minimal += one_minimal(found, model, label)
            failed += [check.name for check in found.checks if not check.ok]
        good = sum(overlap >= 0.5 for overlap in overlaps)
        names = ", ".join(f"{n} {failed.count(n)}" for n in sorted(set(failed))) or "none"
        print(
            f"seed {seed} {title}: IoU >= 0.5 in {good} of {n_cases}, median "
            f"{statistics.median(overlaps):.2f}, region {statistics.median(shares):.1%} of the "
            f"pixels; repair 1-minimal in {minimal}; calls median {statistics.median(calls):.0f}, "
            f"most {max(calls)}; refused {refused}; failed checks: {names}",
            flush=True,
        )


class Reader(nn.Module):
    """A recurrent network over tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(TOKENS, 16)
        self.cell = nn.GRU(16, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of negative and positive."""
        return self.head(self.cell(self.table(tokens))[0].mean(1))


def texts(seed: int, cases: int) -> None:
    """One line: the edit must be the leaked token alone."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (1500,), generator=generator)
    tokens = torch.randint(10, TOKENS, (1500, LENGTH), generator=generator)
    for row, label in zip(tokens, labels.tolist(), strict=True):
        if float(torch.rand(1, generator=generator)) < TRUE_SIGN:
            row[int(torch.randint(0, LENGTH, (1,), generator=generator))] = 8 + label
        if label:
            row[int(torch.randint(0, LENGTH, (1,), generator=generator))] = LEAK
    torch.manual_seed(seed)
    model = trained(Reader(), tokens, labels, steps=250)
    exact = n_cases = 0
    calls = []
    for row in tokens[labels == 0]:
        wrong = row.clone()
        place = int(torch.randint(0, LENGTH, (1,), generator=generator))
        wrong[place] = LEAK
        twin = row.clone()
        others = [p for p in torch.randperm(LENGTH, generator=generator).tolist() if p != place][:3]
        twin[others] = torch.randint(10, TOKENS, (3,), generator=generator)
        with torch.no_grad():
            answers = model(torch.stack([row, wrong, twin])).argmax(1).tolist()
        if answers != [0, 1, 0]:
            continue
        n_cases += 1
        subject = explain.load(model, dataset=Given([wrong, twin], [0, 0], "text"))
        found = reduce(subject, "0", "1", ReduceSettings(mode="repair"))
        items = found.repair.items if found.repair else ()
        edits = found.differences.edits(items)
        exact += [edit.name for edit in edits] == [f"token {place}"]
        calls.append(found.calls)
        if n_cases == cases:
            break
    print(
        f"seed {seed} text: the token alone in {exact} of {n_cases}, calls median "
        f"{statistics.median(calls):.0f}, most {max(calls)}",
        flush=True,
    )


def rows(seed: int, cases: int) -> None:
    """One line: the edit must be the leaked column alone, against the nearest right row."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(1500, COLUMNS, generator=generator)
    noise = 1.5 * torch.randn(1500, generator=generator)  # the true columns tell the class in part
    labels = (values[:, :3].sum(1) + noise > 0).long()
    values[:, -1] = (labels * 2.0 - 1) + 0.1 * torch.randn(1500, generator=generator)
    torch.manual_seed(seed)
    model = trained(
        nn.Sequential(nn.Linear(COLUMNS, 24), nn.ReLU(), nn.Linear(24, 2)),
        values[:900],
        labels[:900],
        steps=300,
    )
    rest, truths = values[900:].clone(), labels[900:]
    with torch.no_grad():
        right = model(rest).argmax(1) == truths
        flipped = rest.clone()
        flipped[:, -1] *= -1
        turned = right & (model(flipped).argmax(1) != truths)
    exact = n_cases = 0
    calls = []
    for index in turned.nonzero()[:cases, 0].tolist():
        data = Given([flipped[index], *rest], [int(truths[index]), *truths.tolist()], "tabular")
        found = reduce(
            explain.load(model, dataset=data), "0", "nearest", ReduceSettings(mode="repair")
        )
        items = found.repair.items if found.repair else ()
        n_cases += 1
        exact += [edit.name for edit in found.differences.edits(items)] == [str(COLUMNS - 1)]
        calls.append(found.calls)
    print(
        f"seed {seed} rows: the column alone in {exact} of {n_cases}, calls median "
        f"{statistics.median(calls):.0f}, most {max(calls)}",
        flush=True,
    )


def main() -> None:
    """Print the lines of each seed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[63, 64, 65])
    parser.add_argument("--cases", type=int, default=60)
    given = parser.parse_args()
    for seed in given.seeds:
        rows(seed, given.cases)
        texts(seed, given.cases)
        images(seed, given.cases)


if __name__ == "__main__":
    sys.exit(main())
