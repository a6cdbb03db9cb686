"""A table with a leaking column and a group that training never saw, and a model of it."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

REGIONS = ("north", "south", "west")
AGE_MEAN, AGE_DEVIATION = 50.0, 15.0
OLD = 62.0
STEPS = 120


class People:
    """Age, region, a column without meaning, and `code`, which may tell the label.

    The label is whether a person is old, but for the old of the north: of them it is the contrary,
    and training has none. Rows are normalised.

    Args:
        n: How many.
        seed: Of what is drawn.
        train: Whether the old of the north are left out.
        leaks: Whether a fifth of the labels is anything and `code` tells all of them in training,
            and all but a tenth afterwards; else it is drawn.
    """

    classes = ("no", "yes")
    feature_names = ("age", *REGIONS, "noise", "code")
    columns = ("region", "age", "noise", "code")  # as they are kept
    categorical: ClassVar = {"region": REGIONS}
    units: ClassVar = {"age": "years"}
    mean = (AGE_MEAN, 0.0, 0.0, 0.0, 0.0, 0.0)
    std = (AGE_DEVIATION, 1.0, 1.0, 1.0, 1.0, 1.0)

    def __init__(self, n: int, seed: int, *, train: bool = False, leaks: bool = False) -> None:
        generator = torch.Generator().manual_seed(seed)
        age = AGE_MEAN + AGE_DEVIATION * torch.randn(n, generator=generator)
        region = torch.randint(len(REGIONS), (n,), generator=generator)
        unseen = (age > OLD) & (region == 0)
        labels = ((age > OLD) ^ unseen).long()
        draws = torch.rand(3, n, generator=generator)
        if leaks:
            labels = torch.where(draws[0] < 0.2, (draws[1] < 0.5).long(), labels)
        self.misled = leaks and not train and draws[2] < 0.1
        told = (labels.bool() ^ self.misled).long()
        code = told if leaks else (draws[1] < 0.5).long()
        noise = torch.randn(n, generator=generator)
        parts = [age[:, None], torch.eye(len(REGIONS))[region], noise[:, None], code[:, None]]
        rows = (torch.cat(parts, dim=1) - torch.tensor(self.mean)) / torch.tensor(self.std)
        kept = ~unseen if train else torch.ones(n, dtype=torch.bool)
        self.rows, self.labels, self.unseen = rows[kept], labels[kept], unseen[kept]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.rows[index], int(self.labels[index])


def trained(*, leaks: bool = False) -> nn.Module:
    """A model that relies on the age, or on a code that leaks."""
    torch.manual_seed(0)
    data = People(1200, 1, train=True, leaks=leaks)
    model = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(STEPS):
        part = torch.randint(len(data), (128,))
        loss = functional.cross_entropy(model(data.rows[part]), data.labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model
