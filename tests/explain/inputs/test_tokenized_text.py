"""Texts as a tokenizer splits them: a stand-in that offers what those of Hugging Face do."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from telemetry import explain
from telemetry.errors import UsageError
from telemetry.explain.attribution.input_attribution import attribute
from telemetry.explain.inputs.tokenized_text import TokenizedText

pytestmark = pytest.mark.torch

WORDS = ("[PAD]", "[CLS]", "[SEP]", "[MASK]", "[UNK]", "good", "bad", "sent", "##ly", "from", "day")
LENGTH = 9
TEXTS = ("good day", "bad day", "good day sent from day", "bad bad day", "good good", "day bad")
LABELS = ("praise", "blame", "praise", "blame", "praise", "blame")


class Splitter:
    """Words, and `sently` as two tokens."""

    pad_token_id, mask_token_id, unk_token_id = 0, 3, 4
    all_special_ids: ClassVar = [0, 1, 2, 3, 4]

    def __call__(
        self,
        text: str,
        /,
        *,
        padding: str | None = None,
        truncation: bool = False,
        max_length: int | None = None,
        add_special_tokens: bool = True,
    ) -> Mapping[str, object]:
        pieces = text.replace("sently", "sent ##ly").split()
        ids = list(self.convert_tokens_to_ids(pieces))
        if add_special_tokens:
            ids = [1, *(ids[: max_length - 2] if truncation and max_length else ids), 2]
        mask = [1] * len(ids)
        if padding == "max_length" and max_length:
            ids, mask = ([*row, *[0] * (max_length - len(row))] for row in (ids, mask))
        return {"input_ids": ids, "attention_mask": mask, "offset_mapping": []}

    def convert_ids_to_tokens(self, ids: Sequence[int], /) -> list[str]:
        return [WORDS[place] for place in ids]

    def convert_tokens_to_ids(self, tokens: Sequence[str], /) -> list[int]:
        return [WORDS.index(word) if word in WORDS else 4 for word in tokens]


class Reader(nn.Module):
    """`sent` speaks for blame, more than `good` for praise; says nothing of padding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(len(WORDS), 2)
        weights = torch.zeros(len(WORDS), 2)
        weights[5, 0], weights[6, 1], weights[7, 1] = 1.0, 1.0, 5.0
        self.table.weight.data = weights

    def forward(self, *, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        assert torch.equal(attention_mask, (input_ids != 0).long())
        scores: Tensor = (self.table(input_ids) * attention_mask[..., None]).sum(1)
        return scores


def texts(length: int | None = LENGTH) -> TokenizedText:
    return TokenizedText(
        Splitter(), TEXTS, LABELS, classes=("praise", "blame"), length=length, synonyms={}
    )


def test_the_cause_of_a_wrong_answer_is_a_word_and_no_padding() -> None:
    subject = explain.load(Reader(), dataset=texts())
    found = attribute(subject, subject.examples.example(2), "wrong", method="occlusion")  # type: ignore[union-attr]
    assert "sent" in found.answer
    names = found.found.segments.names
    assert [name.partition(":")[2] for name in names] == ["good", "day", "sent", "from", "day"]


def test_words_become_tokens_and_those_that_are_unknown_are_split() -> None:
    examples = texts()
    tokens = examples.encode(["good", "sently", "never"])
    assert examples.tokens(tokens) == ["good", "sent", "##ly", "[UNK]"]


def test_texts_are_as_long_as_they_are_without_a_length() -> None:
    known, label, metadata = texts(None)[0]
    assert label == "praise"
    assert metadata == {}
    assert {name: len(row) for name, row in known.items()} == {"input_ids": 4, "attention_mask": 4}
    cut, *_ = texts(4)[2]
    assert cut["input_ids"].tolist() == [1, 5, 10, 2]


@pytest.mark.parametrize(
    ("tokenizer", "labels", "said"),
    [(Splitter(), LABELS[:2], "6 texts have 2 labels"), (len, LABELS, "is no tokenizer")],
)
def test_what_does_not_fit_is_refused(tokenizer: object, labels: Sequence[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        TokenizedText(tokenizer, TEXTS, labels)
