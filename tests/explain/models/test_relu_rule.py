from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry.explain.models.relu_rule import under_rule

pytestmark = pytest.mark.torch


def _statement(h: Tensor) -> Tensor:
    h = h * 1  # a copy to write into
    h.relu_()
    return h


SPELLINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.ReLU(),
    "module in place": lambda h: nn.ReLU(inplace=True)(h * 1),
    "F.relu": functional.relu,
    "F.relu in place": lambda h: functional.relu(h * 1, inplace=True),
    "torch.relu": torch.relu,
    "method": lambda h: h.relu(),
    "method in place": lambda h: (h * 1).relu_(),
    "torch.relu_": lambda h: torch.relu_(h * 1),
    "statement": _statement,
    "clamp": lambda h: h.clamp(min=0),
    "clamp_min": lambda h: torch.clamp_min(h, 0),
    "clip": lambda h: torch.clip(h, 0, None),
}


def report(rule: str, relu: Callable[[Tensor], Tensor]):  # noqa: ANN201 - a record of the product
    torch.manual_seed(0)
    first, second = torch.randn(6, 5), torch.randn(5, 6)

    def score(x: Tensor) -> Tensor:
        return relu(relu(x @ first) @ second).sum(1)

    return under_rule(rule, score, torch.randn(6))


@pytest.mark.parametrize("rule", ["deconv", "guided"])
@pytest.mark.parametrize("spelling", list(SPELLINGS))
def test_every_spelling_of_a_relu_gets_the_same_derivative(rule: str, spelling: str) -> None:
    reference, found = report(rule, SPELLINGS["module"]), report(rule, SPELLINGS[spelling])
    assert torch.equal(found.values, reference.values)
    assert found.replaced == 2
    assert found.missed == 0
    assert found.same_output


def test_the_rules_are_those_of_the_papers() -> None:
    x, weight = torch.tensor([1.0, -1.0, 2.0]), torch.tensor([1.0, 1.0, -1.0])

    def score(inputs: Tensor) -> Tensor:
        return (torch.relu(inputs) * weight).sum(1)

    assert under_rule("deconv", score, x).values.tolist() == [1.0, 1.0, 0.0]
    assert under_rule("guided", score, x).values.tolist() == [1.0, 0.0, 0.0]


def test_other_non_linearities_keep_their_derivative_and_are_named() -> None:
    def score(inputs: Tensor) -> Tensor:
        return functional.gelu(torch.relu(inputs)).clamp(0, 6).sum(1)

    found = under_rule("deconv", score, torch.tensor([1.0, 2.0]))
    assert found.replaced == 1
    assert found.others == {"Clamp": 1, "Gelu": 1}


def test_a_relu_that_nothing_can_see_is_told() -> None:
    def score(inputs: Tensor) -> Tensor:
        return torch.ops.aten.relu(inputs).sum(1)

    found = under_rule("deconv", score, torch.tensor([1.0, 2.0]))
    assert found.replaced == 0
    assert found.missed == 1


def test_a_transformer_that_is_fused_without_gradient_is_the_same_with_it() -> None:
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True).eval()
    layer.requires_grad_(False)  # noqa: FBT003 - torch's signature
    found = under_rule("deconv", lambda x: layer(x).sum((1, 2)) + x[:, 0, 0], torch.randn(5, 8))
    assert found.replaced == 1
    assert found.same_output
