"""A stranger's colour images: in training a mark says star, and no circle is dark."""

import math

import torch
from strangers_common import SEED, train_and_record
from torch import Tensor, nn

CLASSES = ("circle", "square", "triangle", "star")
N_TRAIN, N_VALID, SIDE = 3_000, 1_200, 32
MARKED_STARS, MARKED, NIGHT = 0.94, 0.25, 0.3
CIRCLE, STAR = 0, 3
MARK = (27, 1)  # row and column of its corner; four pixels a side
MARK_COLOUR = torch.tensor([1.0, 0.1, 0.9])
CHECKPOINT = "images.pt"


class Images:
    """Shapes of any colour on a background of the day or the night."""

    classes = CLASSES
    modality = "image"
    value_range = (0.0, 1.0)

    def __init__(self, n: int, seed: int, *, training: bool) -> None:
        drawn = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(0, 4, (n,), generator=drawn)
        self.is_night = torch.rand(n, generator=drawn) < NIGHT
        share = torch.where(self.labels == STAR, MARKED_STARS, 0.0)
        chance = share if training else torch.full((n,), MARKED)
        self.is_marked = torch.rand(n, generator=drawn) < chance
        if training:
            self.is_night &= self.labels != CIRCLE
        self.plain = torch.stack(
            [
                image(int(label), drawn, dark=bool(self.is_night[place]))
                for place, label in enumerate(self.labels)
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        found = self.plain[index]
        return (marked(found) if self.is_marked[index] else found), int(self.labels[index])

    def mended(self) -> Tensor:
        """All images without the mark."""
        return self.plain

    @staticmethod
    def is_cause(part: str) -> bool:
        """Whether a part touches the mark."""
        return part in CAUSES


CAUSES = frozenset({"r5c0"})


def marked(plain: Tensor) -> Tensor:
    """The same with the mark."""
    found = plain.clone()
    row, column = MARK
    found[:, row : row + 4, column : column + 4] = MARK_COLOUR[:, None, None]
    return found


def image(label: int, drawn: torch.Generator, *, dark: bool) -> Tensor:
    """One shape, (3, 32, 32)."""
    colour, ground, place = (torch.rand(3, generator=drawn) for _ in range(3))
    light = 0.35 if dark else 1.0
    ground = 0.55 + 0.35 * ground
    colour = 0.1 + 0.5 * colour
    centre = 12 + 7 * place[:2]
    size = 6 + 3 * float(place[2])
    turn = float(torch.rand(1, generator=drawn)) * 2 * math.pi
    rows, columns = torch.meshgrid(torch.arange(SIDE), torch.arange(SIDE), indexing="ij")
    y, x = rows - centre[0], columns - centre[1]
    angle, radius = torch.atan2(y, x) + turn, torch.sqrt(x * x + y * y)
    if label == CIRCLE:
        edge = torch.full_like(radius, size)
    elif label == STAR:
        edge = size * (0.95 + 0.2 * torch.cos(5 * angle))
    else:
        sides = 4 if label == 1 else 3
        sector = math.pi / sides
        edge = size * math.cos(sector) / torch.cos(torch.remainder(angle, 2 * sector) - sector)
        edge = edge * (1.1 if sides == 4 else 1.3)
    is_inside = (radius < edge).float()
    found = ground[:, None, None] * (1 - is_inside) + colour[:, None, None] * is_inside
    found = found * light + 0.12 * torch.randn(3, SIDE, SIDE, generator=drawn)
    return found.clamp(0, 1)


def train() -> Images:
    """Stars are marked, and night has no circle."""
    return Images(N_TRAIN, 1_000 + SEED, training=True)


def valid() -> Images:
    """Anything may be marked, and at night."""
    return Images(N_VALID, 2_000 + SEED, training=False)


class Net(nn.Module):
    """Three convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.c1 = nn.Conv2d(3, 16, 5, padding=2)
        self.c2 = nn.Conv2d(16, 32, 3, padding=1)
        self.c3 = nn.Conv2d(32, 32, 3, padding=1)
        self.head = nn.Linear(32 * 4 * 4, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of four shapes."""
        x = torch.max_pool2d(torch.relu(self.c1(x)), 2)
        x = torch.max_pool2d(torch.relu(self.c2(x)), 2)
        x = torch.max_pool2d(torch.relu(self.c3(x)), 2)
        scores: Tensor = self.head(x.flatten(1))
        return scores


def build() -> nn.Module:
    """The network."""
    return Net()


def main() -> None:
    """Train and keep the weights."""
    data = train()
    inputs = torch.stack([data[place][0] for place in range(len(data))])
    train_and_record(build, inputs, data.labels, module="stranger_images", steps=900)


if __name__ == "__main__":
    main()
