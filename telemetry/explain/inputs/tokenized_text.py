"""Examples of texts as a tokenizer splits them, such as those of Hugging Face; it is not imported.

What a question needs to know of a text is asked of the tokenizer: the names of its tokens, which of
them are special or fill up, and how words become an input.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol, cast

import torch
from torch import Tensor

from telemetry.errors import UsageError

IDS = "input_ids"  # as tokenizers name the tokens of a text
FOLLOWS = (IDS, "attention_mask", "token_type_ids")  # what is known for every other text, too


class Tokenizer(Protocol):
    """What is used of a tokenizer."""

    pad_token_id: int | None
    mask_token_id: int | None
    all_special_ids: Sequence[int]

    def __call__(self, text: str, /, **settings: object) -> Mapping[str, object]:
        """The numbers of a text under `input_ids`, and what follows from them."""
        ...

    def convert_ids_to_tokens(self, ids: Sequence[int], /) -> Sequence[str]:
        """The tokens of numbers."""
        ...

    def convert_tokens_to_ids(self, tokens: Sequence[str], /) -> Sequence[int]:
        """The numbers of tokens."""
        ...


class TokenizedText:
    """Texts and their labels, split by a tokenizer, as `dataset=` of a model takes them.

    Args:
        tokenizer: Of the model; needs `convert_ids_to_tokens`, `convert_tokens_to_ids`,
            `pad_token_id`, `mask_token_id` and `all_special_ids`, as those of Hugging Face have.
        texts: What was written.
        labels: One each.
        classes: Names of the classes; empty: labels are names, or numbers.
        length: Tokens of every row: longer texts are cut, shorter ones filled up; None: as long as
            they are.
        metadata: What is known of each text, such as where it comes from; empty: nothing.
        synonyms: Tokens that may stand for a token, for `explain perturb --axis synonym`.

    Raises:
        UsageError: there are not as many labels as texts, or a tokenizer is none.
    """

    modality = "text"

    def __init__(
        self,
        tokenizer: object,
        texts: Sequence[str],
        labels: Sequence[int | float | str],
        *,
        classes: Sequence[str] = (),
        length: int | None = None,
        metadata: Sequence[Mapping[str, str | int | float | bool | None]] = (),
        synonyms: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        if len(texts) != len(labels) or (metadata and len(metadata) != len(texts)):
            raise UsageError(
                f"{len(texts)} texts have {len(labels)} labels and {len(metadata)} metadata; "
                "give one label each, and metadata for all or none."
            )
        self._tokenizer = _checked(tokenizer)
        self._texts, self._labels, self._metadata = texts, labels, metadata
        self._settings: Mapping[str, object] = {}
        if length is not None:
            self._settings = {"truncation": True, "max_length": length, "padding": "max_length"}
        self.classes, self.synonyms = tuple(classes) or None, synonyms
        self.pad_id = self._tokenizer.pad_token_id
        self.mask_id = self._tokenizer.mask_token_id
        self.special_ids = frozenset(self._tokenizer.all_special_ids) - {self.mask_id}

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(
        self, index: int
    ) -> tuple[dict[str, Tensor], int | float | str, Mapping[str, object]]:
        """The input as the model takes it by name, its label, and what is known of it."""
        split = self._tokenizer(self._texts[index], **self._settings)
        known = {name: torch.as_tensor(split[name]) for name in FOLLOWS if name in split}
        metadata = self._metadata[index] if self._metadata else {}
        return known, self._labels[index], metadata

    def tokens(self, values: Tensor) -> list[str]:
        """The names of tokens."""
        return list(map(str, self._tokenizer.convert_ids_to_tokens(values.tolist())))

    def encode(self, words: Sequence[str]) -> Tensor:
        """The tokens of names of `tokens`, or of words, which may become several."""
        own = self._tokenizer.convert_tokens_to_ids(list(words))
        unknown = getattr(self._tokenizer, "unk_token_id", None)
        found: list[int] = []
        for word, token in zip(words, own, strict=True):
            is_known = token is not None and token != unknown
            found += [int(token)] if is_known else self._split(word)
        return torch.tensor(found)

    def _split(self, word: str) -> list[int]:
        """The tokens of a word alone, without those that are put around a text."""
        split = self._tokenizer(word, add_special_tokens=False)
        return [int(token) for token in cast("Sequence[int]", split[IDS])]


def _checked(tokenizer: object) -> Tokenizer:
    names = ("convert_ids_to_tokens", "convert_tokens_to_ids", "pad_token_id", "mask_token_id")
    lacking = [n for n in (*names, "all_special_ids") if not hasattr(tokenizer, n)]
    if lacking or not callable(tokenizer):
        said = ", ".join(lacking) or "a call that splits a text"
        raise UsageError(
            f"{type(tokenizer).__name__} is no tokenizer: it lacks {said}. Pass that of the model, "
            "or write a data set with tokens(x) and encode(words)."
        )
    return cast("Tokenizer", tokenizer)
