"""The picture of occlusion: windows that overlap and are never cut."""

import pytest
import torch
from torch import Tensor, nn

from telemetry import explain
from telemetry.explain.attribution.sliding import starts

pytestmark = pytest.mark.torch


def test_windows_move_by_half_and_end_inside() -> None:
    assert starts(8, 4) == [0, 2, 4]
    assert starts(11, 4) == [0, 2, 4, 6, 7]
    assert starts(3, 1) == [0, 1, 2]
    assert starts(4, 4) == [0]


class Bright(nn.Module):
    """The sum of all pixels."""

    def forward(self, x: Tensor) -> Tensor:
        total = x.flatten(1).sum(1)
        return torch.stack([total, total * 0], dim=1)


class Image(list[tuple[Tensor, int]]):
    """One image of 11 x 11 pixels, two channels."""

    classes = ("bright", "dark")


@pytest.mark.parametrize("segments", ["grid:3x3", "grid:2x5"])
def test_of_a_sum_every_pixel_shows_its_own_value(segments: str) -> None:
    """A window cut at the border would hide less and show less; one that is moved does not."""
    subject = explain.load(Bright(), dataset=Image([(torch.ones(2, 11, 11), 0)]))
    found = explain.attribute(
        subject, "0", "pred", method="occlusion", segments=segments, baseline="zero", check=False
    )
    assert found.shown.shape == (2, 11, 11)
    assert torch.allclose(found.shown, torch.ones(2, 11, 11), atol=1e-5)


def test_ranks_are_of_cells_side_by_side() -> None:
    image = torch.zeros(1, 8, 8)
    image[0, 2:4, 2:4] = 1.0
    subject = explain.load(Bright(), dataset=Image([(image, 0)]))
    found = explain.attribute(
        subject, "0", "pred", method="occlusion", segments="grid:2x2", baseline="zero", check=False
    )
    assert found.per_segment.tolist() == [4.0, 0.0, 0.0, 0.0]
    assert float(found.shown[0, 4, 4]) > 0  # a window that overlaps hides part of the mark
    assert float(found.shown[0, 7, 7]) == 0
