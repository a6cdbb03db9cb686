import pytest
import torch
from pictures import Edges, Pictures, build
from torch import Tensor, nn

from telemetry.explain.models.layers import listening
from telemetry.explain.models.subject import load
from telemetry.explain.units.receptive import ReceptiveFields, receptive_fields

pytestmark = pytest.mark.torch


def fields(model: nn.Module, layer: str, batch: int = 5) -> ReceptiveFields:
    data = Pictures()
    subject = load(model, dataset=data)
    with subject.running(), listening(subject, layer) as heard:
        return receptive_fields(heard, data[0][0], batch)


def test_a_convolution_sees_its_kernel_and_less_at_the_edge() -> None:
    found = fields(Edges(), "conv")
    assert found.box(5, 7) == (4, 6, 7, 9)
    assert found.box(0, 11) == (0, 10, 2, 12)
    assert found.size == (3, 3)


def test_pooling_widens_what_is_seen_whatever_maximum_is_taken() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        nn.Conv2d(2, 2, 3, padding=1),
        nn.Flatten(),
        nn.Linear(72, 3),
    )
    found = fields(model, "3")
    assert found.size == (8, 8)
    assert found.box(3, 3) == (3, 3, 11, 11)


def test_rows_and_columns_may_differ() -> None:
    found = fields(nn.Sequential(nn.Conv2d(1, 1, (1, 5), stride=(2, 1)), Whole()), "0")
    assert found.box(1, 0) == (2, 0, 3, 5)
    assert found.size == (1, 5)


class Whole(nn.Module):
    """Three logits of whatever comes."""

    def forward(self, values: Tensor) -> Tensor:
        """The mean, three times."""
        return values.flatten(1).mean(1, keepdim=True).repeat(1, 3)


class Cleaning(nn.Module):
    """Replaces NaN, as careful users do."""

    def forward(self, values: Tensor) -> Tensor:
        """The same without NaN."""
        return torch.nan_to_num(values)


@pytest.mark.parametrize(
    ("model", "layer"),
    [
        (build(), "1"),  # has no places
        (nn.Sequential(nn.LayerNorm((1, 12, 12)), nn.Conv2d(1, 1, 3), Whole()), "1"),
        (nn.Sequential(Cleaning(), nn.Conv2d(1, 1, 3), Whole()), "1"),
    ],
)
def test_what_sees_everything_or_cannot_be_told_is_the_whole_image(
    model: nn.Module, layer: str
) -> None:
    found = fields(model, layer)
    assert found.box(0, 0) == (0, 0, 12, 12)
    assert found.size == (12, 12)
