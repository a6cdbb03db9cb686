"""Attributions of texts: the token that decides, and references that are padding alone."""

import math

import pytest
import torch
from padded_texts import LEAK, MARKS, trained
from padded_texts import Texts as PaddedTexts
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain.attribution.input_answers import sentence
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


@pytest.fixture(scope="module")
def leaky() -> tuple[explain.Subject, list[str]]:
    """A padded transformer that learned a leaked phrase, and what it therefore gets wrong."""
    model, data = trained(), PaddedTexts(60, 2, (0.5, 1.0))
    with torch.no_grad():
        wrong = (model(data.rows).argmax(1) != data.labels).nonzero().flatten().tolist()
    assert all(bool(data.leaked[index]) for index in wrong)
    return explain.load(model, dataset=data), [str(index) for index in wrong[:6]]


def test_padding_and_special_tokens_are_no_parts(leaky: tuple[explain.Subject, list[str]]) -> None:
    subject, wrong = leaky
    for example in wrong:
        names = attribute(subject, example, "wrong", check=False).segments.names
        assert not any(mark in name for name in names for mark in MARKS)
        assert names[0].startswith("1:")


@pytest.mark.parametrize("method", ["ig", "occlusion"])
def test_a_leaked_phrase_of_a_padded_text_is_found(
    leaky: tuple[explain.Subject, list[str]], method: str
) -> None:
    subject, wrong = leaky
    found = [attribute(subject, example, "wrong", method=method) for example in wrong]
    assert all(one.top(1)[0].segment.partition(":")[2] in LEAK for one in found)
    assert sum(one.ok for one in found) >= len(found) - 1
    phrases = [one.phrase.name.partition(":")[2] for one in found if one.phrase is not None]
    assert len(phrases) >= len(found) - 2
    assert {*phrases} <= {"per our", "per our records"}
    assert "hiding " in " ".join(map(sentence, found))
    assert not any("shorter text" in warning for one in found for warning in one.warnings)


def test_phrases_can_be_parts(leaky: tuple[explain.Subject, list[str]]) -> None:
    subject, (first, *_) = leaky
    names = attribute(subject, first, "wrong", segments="phrase:3", check=False).segments.names
    assert names[0].startswith("1-3:")
    assert all(len(name.split()) <= 3 for name in names)
    with pytest.raises(UsageError, match="--segments phrase:3: only texts have phrases"):
        rows = explain.load(torch.nn.Linear(2, 2), dataset=[(torch.ones(2), 0)])
        attribute(rows, "0", "pred", segments="phrase:3")


def test_a_text_of_nothing_but_padding_is_refused() -> None:
    class Empty(Padded):
        def __getitem__(self, index: int) -> tuple[Tensor, int]:
            return torch.zeros(6, dtype=torch.int64), index

    with pytest.raises(UsageError, match="only padding and special tokens"):
        attribute(explain.load(Reader(), dataset=Empty()), "0", "pred", method="occlusion")


def test_of_words_that_stand_in_for_each_other_the_phrase_is_named() -> None:
    """Each of tokens 7 and 8 suffices: hiding one does nothing, hiding both everything."""

    class Either(Reader):
        def forward(self, tokens: Tensor) -> Tensor:
            has = ((tokens == 7) | (tokens == 8)).any(1).float()
            return torch.stack([0.5 - has, has - 0.5], dim=1)

    found = attribute(explain.load(Either(), dataset=Texts()), "0", "wrong", method="occlusion")
    assert found.phrase is not None
    assert (found.phrase.name, found.phrase.value) == ("3-4:word7 word8", 2.0)
    assert found.phrase.single == 0.0
