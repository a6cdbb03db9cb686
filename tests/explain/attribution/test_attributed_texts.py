"""Attributions of texts: the token that decides, and references that are padding alone."""

import math

import pytest
import torch
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain.attribution.input_attribution import attribute

pytestmark = pytest.mark.torch


class Reader(nn.Module):
    """A text is positive when it holds token 7."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(10, 2)
        with torch.no_grad():
            self.table.weight.zero_()
            self.table.weight[7, 1] = 4.0

    def forward(self, tokens: Tensor) -> Tensor:
        pooled = self.table(tokens).sum(1)
        return pooled - torch.tensor([0.0, 1.0])


class Texts:
    """One text that is called positive for its fourth token, and is not."""

    modality = "text"
    mask_id = 0

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([3, 5, 2, 7, 8, 1]), 0

    def tokens(self, values: Tensor) -> list[str]:
        return [f"word{token}" for token in values.tolist()]


@pytest.mark.parametrize("method", ["ig", "occlusion", "lime"])
def test_the_token_that_decides_is_found(method: str) -> None:
    subject = explain.load(Reader(), dataset=Texts())
    assert (
        attribute(subject, "0", "wrong", method=method, samples=200, check=False).top(1)[0].segment
        == "3:word7"
    )


def test_integers_without_an_embedding_have_no_gradient() -> None:
    class Counting(nn.Module):
        def forward(self, tokens: Tensor) -> Tensor:
            return torch.stack([(tokens == 7).sum(1), (tokens != 7).sum(1)], 1).float()

    with pytest.raises(UsageError, match="integers have no gradient"):
        attribute(explain.load(Counting(), dataset=Texts()), "0", "pred")


class Averaging(Reader):
    """Averages over the tokens that are no padding: of nothing but padding it says NaN."""

    def forward(self, tokens: Tensor) -> Tensor:
        is_word = (tokens != 0)[..., None]
        return (self.table(tokens) * is_word).sum(1) / is_word.sum(1) - torch.tensor([0.0, 0.1])


class Padded(Texts):
    """Three texts that begin with token 9 and have token 5; most have token 1."""

    mask_id = None
    pad_id = 0

    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([[9, 5, 2, 7, 8, 1], [9, 5, 5, 1, 1, 6], [9, 3, 3, 3, 3, 5]][index]), 0


@pytest.mark.parametrize("method", ["ig", "occlusion", "lime", "kernelshap"])
def test_texts_of_padding_alone_are_no_reference_where_the_model_says_nan(method: str) -> None:
    subject = explain.load(Averaging(), dataset=Padded())
    found = attribute(subject, "0", "wrong", method=method, samples=100)
    assert found.top(1)[0].segment == "3:word7"
    assert (
        "no finite number for the baseline mask: hidden tokens are replaced by 'word1' instead"
        in (found.warnings[0])
    )
    assert all(math.isfinite(check.value) for check in found.checks)
    with pytest.raises(UsageError, match="for the baseline zero; choose another --baseline"):
        attribute(subject, "0", "wrong", method=method, baseline="zero")
