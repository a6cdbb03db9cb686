"""A small model and data set, as a user would write them, for the tests of explain and evaluate."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

CLASSES = ("low", "high")


def build(width: int = 4) -> nn.Module:
    """A classifier of rows of four numbers."""
    return nn.Sequential(nn.Linear(4, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Linear(width, 2))


def build_sum() -> nn.Module:
    """Knows the truth of `Rows`: its second logit is the sum of the row."""
    model = nn.Linear(4, 2, bias=False)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.0] * 4, [1.0] * 4]))
    return model


class Rows:
    """Twelve rows whose label says whether their sum is positive; the first two are spoiled."""

    classes = CLASSES

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(3)
        self.inputs = torch.randn(12, 4, generator=generator)
        self.labels = (self.inputs.sum(1) > 0).long()
        self.labels[:2] = 1 - self.labels[:2]

    def __len__(self) -> int:
        return len(self.inputs)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Mapping[str, object]]:
        return self.inputs[index], self.labels[index], {"half": index // 6, "even": index % 2 == 0}


class Numbers(Rows):
    """The same rows with their sum as the target."""

    classes = ()

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.inputs[index], self.inputs[index].sum()


def mirrored(values: Tensor, label: int, metadata: dict[str, object]) -> object:
    """Columns in the other order: the sum does not see it."""
    return values.flip(0), label, metadata


def negated(values: Tensor, label: int, metadata: dict[str, object]) -> object:
    """The sum changes its sign."""
    return -values, label, metadata


def torn(values: Tensor, label: int, metadata: dict[str, object]) -> object:
    """No triple."""
    del metadata
    return values, label
