"""Random output layers: what chance of their sign must not decide."""

from collections.abc import Callable

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


def one_layer() -> nn.Module:
    """Reads the leak, and a little of the other columns."""
    model = nn.Linear(8, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[0.1, 0.2, 0.1, 0.2, 0.1, 1.0, 0.2, 0.1]]))
        model.bias.zero_()
    return model


@pytest.mark.parametrize("made", [one_layer, OneLogit])
def test_rows_of_a_leak_are_believed_whatever_layers_one_logit_has(
    made: Callable[[], nn.Module],
) -> None:
    """A layer that is the whole model is mirrored, too: what its draws have in common is 0."""
    found, leak = [], Leak()
    for place in range(20):
        subject = explain.load(made(), dataset=leak)  # each row is the first that is asked about
        found.append(attribute(subject, str(place), "pred", method="occlusion", baseline="zero"))
    assert {int(one.per_segment.argmax()) for one in found} == {5}
    assert all(one.ok for one in found)
    values = [one.method_check.check.value for one in found if one.method_check]
    assert values == pytest.approx([0.0] * 20, abs=1e-6)


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
