"""A wrong image against itself without details: blurred, flat, or filled in."""

import pytest
import torch
from signs import SIDE, Signs
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain import flip, reduce
from telemetry.explain.inputs.inpainting import filled_in
from telemetry.explain.reduction.differences import Cells
from telemetry.explain.reduction.pictures import picture
from telemetry.explain.reduction.reduce_answers import sentence
from telemetry.requests.explain.reduce import ReduceSettings

pytestmark = pytest.mark.torch


def test_a_flip_is_the_reduction_against_the_image_made_plain() -> None:
    class Spotless(nn.Module):
        """A bright pixel anywhere makes it wrong."""

        def forward(self, x: Tensor) -> Tensor:
            score = 10 * (0.7 - x.flatten(1).amax(1))
            return torch.stack([-score, score], dim=1)

    spotted = explain.load(Spotless(), dataset=Signs())
    found = flip(spotted, "1", "mean")
    assert found.repair == reduce(spotted, "1", "mean").repair
    assert found.breaking is None
    assert {check.name for check in found.checks} == {"determinism", "soft_edge"}
    with pytest.raises(UsageError, match="flip by 'nearest': choose blur, mean, inpaint"):
        flip(spotted, "1", "nearest")
    with pytest.raises(UsageError, match="--mode break needs a correctly answered input"):
        reduce(spotted, "1", "blur", ReduceSettings(mode="break"))


def test_what_only_a_sharp_edge_mends_fails_the_control() -> None:
    class Edgy(nn.Module):
        """Right where there is a bend."""

        def forward(self, x: Tensor) -> Tensor:
            bends = (x[..., 2:] - 2 * x[..., 1:-1] + x[..., :-2]).abs().flatten(1).amax(1)
            score = 20 * (bends - 0.2)
            return torch.stack([-score, score], dim=1)

    class Ramp(Signs):
        def __init__(self) -> None:
            self.images = torch.linspace(0, 1, SIDE).expand(1, 1, SIDE, SIDE).clone()

    found = flip(explain.load(Edgy(), dataset=Ramp()), "0", "mean", ReduceSettings(cell=4))
    (soft,) = [check for check in found.checks if check.name == "soft_edge"]
    assert 0.2 < soft.value < 0.4  # a step becomes three
    assert not soft.ok
    assert not found.ok


def test_what_is_missing_is_filled_in_from_around_it() -> None:
    ramp = torch.linspace(0, 1, 8).expand(2, 8, 8).clone()
    hole = torch.zeros(8, 8, dtype=torch.bool)
    hole[2:4, 2:4] = True
    spoiled = ramp.clone()
    spoiled[:, hole] = 9.0
    found = filled_in(spoiled, hole)
    assert torch.equal(found[:, ~hole], ramp[:, ~hole])
    assert float((found - ramp).abs().max()) < 0.2
    everything = torch.ones(8, 8, dtype=torch.bool)
    assert torch.allclose(filled_in(ramp, everything), torch.tensor(0.5))
    whole = filled_in((255 * ramp).byte(), hole)
    assert whole.dtype == torch.uint8


def test_a_spot_is_mended_by_what_lies_around_it() -> None:
    class Spotless(nn.Module):
        """A dark pixel anywhere makes it wrong."""

        def forward(self, x: Tensor) -> Tensor:
            score = 20 * (x.flatten(1).amin(1) - 0.2)
            return torch.stack([-score, score], dim=1)

    class Spotted(Signs):
        def __init__(self) -> None:
            self.images = torch.full((1, 1, SIDE, SIDE), 0.6)
            self.images[0, 0, 4:6, 8:10] = 0.0

    found = flip(explain.load(Spotless(), dataset=Spotted()), "0", "inpaint")
    assert found.repair is not None
    assert isinstance(found.differences, Cells)
    assert [found.differences.boxes[item] for item in found.repair.items] == [(4, 8, 6, 10)]
    assert torch.allclose(found.differences.mixed(found.repair.items), torch.tensor(0.6))
    assert found.ok
    assert "filled in from around them the answer is right" in sentence(found)
    assert picture(found) is not None
