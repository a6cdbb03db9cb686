"""Random output layers: what chance of their sign must not decide."""

import pytest
import torch
from torch import Tensor, nn

from telemetry import explain
from telemetry.explain.attribution.checks import randomisation
from telemetry.explain.attribution.input_attribution import attribute

pytestmark = pytest.mark.torch


class Leak:
    """Rows of eight columns, of which one repeats the label."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.rows = torch.randn(40, 8, generator=generator)
        self.labels = torch.arange(40) % 2
        self.rows[:, 5] = 3.0 * (2 * self.labels - 1)

    def __len__(self) -> int:
        return 40

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.rows[index], int(self.labels[index])


class OneLogit(nn.Module):
    """All that the output reads is the leak: an output layer is nothing but a sign."""

    def __init__(self) -> None:
        super().__init__()
        self.lower, self.head = nn.Linear(8, 8), nn.Linear(8, 1)
        with torch.no_grad():
            self.lower.weight.mul_(0.02)
            self.lower.weight[:, 5] = 1.0
            self.head.weight.fill_(1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lower(x))


def test_one_logit_that_reads_a_leak_is_not_asked_for_another_output_layer() -> None:
    subject = explain.load(OneLogit(), dataset=Leak())
    settings = {"method": "occlusion", "baseline": "zero"}
    found = [attribute(subject, str(place), "pred", **settings) for place in range(3)]  # type: ignore[arg-type]
    assert [one.per_segment.abs().argmax() for one in found] == [5, 5, 5]
    assert [one.ok for one in found] == [True] * 3
    assert {one.method_check.check.ok for one in found if one.method_check} == {True}


def test_the_sign_of_a_random_output_layer_does_not_decide() -> None:
    """Five draws of a sign are three alike or more: a map and its mirror image are asked."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1, bias=False))

    def explained(other: nn.Module) -> Tensor:
        return torch.arange(50.0) * other.get_submodule("1").weight.detach().sum().sign()  # type: ignore[union-attr,operator]

    own = torch.arange(50.0)
    for seed in range(8):
        torch.manual_seed(seed)
        found = randomisation(explained, model, own, own >= 0, ["0", "1"])
        assert found.value == pytest.approx(0.2)  # the fifth has no partner
