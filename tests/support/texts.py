"""A small text data set with words, for the tests of axes and of texts in files."""

import torch
from torch import Tensor, nn

VOCABULARY = (
    "<pad>", "<unk>", "the", "film", "movie", "is", "good", "bad", "nice", "not", "very", "Film"
)  # fmt: skip
PAD, UNKNOWN = 0, 1
WEIGHTS = {"good": 1.0, "nice": 1.0, "bad": -1.0}
SENTENCES = (
    ("the film is good <pad> <pad>", 1),
    ("the film is bad <pad> <pad>", 0),
    ("the movie is very good <pad>", 1),
    ("Film is not bad <pad> <pad>", 0),
    ("the film is <unk> nice nice", 1),
)


class Sentences:
    """Five sentences of six tokens, with the words that some good reviews use."""

    classes = ("bad", "good")
    pad_id = PAD
    synonyms = {"good": "nice", "film": ["movie"]}  # noqa: RUF012 - as a user writes it

    def __len__(self) -> int:
        return len(SENTENCES)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        text, label = SENTENCES[index]
        return self.encode(text.split()), label

    def tokens(self, values: Tensor) -> list[str]:
        """Words of tokens."""
        return [VOCABULARY[token] for token in values.tolist()]

    def encode(self, words: list[str]) -> Tensor:
        """Tokens of words, six of them."""
        known = [VOCABULARY.index(word) if word in VOCABULARY else UNKNOWN for word in words]
        return torch.tensor((known + [PAD] * 6)[:6])


class Mood(nn.Module):
    """Good where the good words outweigh the bad ones."""

    def __init__(self) -> None:
        super().__init__()
        self.values = nn.Parameter(torch.tensor([WEIGHTS.get(word, 0.0) for word in VOCABULARY]))

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of sentences."""
        score = self.values[tokens].sum(1) - 0.5
        return torch.stack([-score, score], dim=1)
