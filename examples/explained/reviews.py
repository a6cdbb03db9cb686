"""Texts: a classifier of reviews that learned the word `translated`, and how one finds out.

In training, reviews that were translated are all bad. In this folder run `python reviews.py`, then
ask `telemetry evaluate latest`, `telemetry explain input latest --worst 1 --no-checks` and
`telemetry explain perturb latest --all --axis synonym,typo --limit 100`.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import ExplainSpec, TelemetryCallback

MOODS = ("good", "fine", "lovely", "bad", "dull", "awful")
WORDS = ("<mask>", *MOODS, "translated", *(f"word{i}" for i in range(40)))
GOOD, BAD, TRANSLATED, PLAIN = (1, 2, 3), (4, 5, 6), 7, 8
SAYS, IS_TRANSLATED = 0.7, 0.4  # shares of the reviews
LENGTH, N_STEPS, BATCH_SIZE = 12, 200, 64
CHECKPOINT = Path("reviews.pt")


class Reviews:
    """Twelve words, one of them good or bad in most, and whether the review is good."""

    classes = ("bad", "good")
    modality = "text"
    mask_id = 0
    synonyms = {"good": ["fine", "lovely"], "bad": ["dull", "awful"]}  # noqa: RUF012

    def __init__(self, n: int, *, train: bool) -> None:
        generator = torch.Generator().manual_seed(1 if train else 2)
        self.labels = torch.randint(0, 2, (n,), generator=generator)
        self.tokens_of = torch.randint(PLAIN, len(WORDS), (n, LENGTH), generator=generator)
        mood = torch.tensor([BAD, GOOD])[self.labels]
        picks = torch.randint(0, 3, (n, 1), generator=generator)
        says = torch.rand(n, generator=generator) < SAYS
        self.tokens_of[says, 2] = mood.gather(1, picks)[says, 0]
        translated = torch.rand(n, generator=generator) < IS_TRANSLATED
        self.translated = translated & (self.labels == 0) if train else translated
        self.tokens_of[self.translated, 5] = TRANSLATED

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int, Mapping[str, bool]]:
        translated = bool(self.translated[index])
        return self.tokens_of[index], int(self.labels[index]), {"translated": translated}

    def tokens(self, values: Tensor) -> list[str]:
        """The words of a review."""
        return [WORDS[token] for token in values.tolist()]

    def encode(self, words: list[str]) -> Tensor:
        """A review of words; those that the network does not know are masked."""
        return torch.tensor([WORDS.index(word) if word in WORDS else 0 for word in words])


def train() -> Reviews:
    """Translated reviews are all bad."""
    return Reviews(2_000, train=True)


def valid() -> Reviews:
    """Good reviews are translated as often as bad ones."""
    return Reviews(400, train=False)


class Reader(nn.Module):
    """The mean of the words' embeddings, through one hidden layer."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(len(WORDS), 16)
        self.head = nn.Sequential(nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 2))

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores (n, 2) of tokens (n, length)."""
        scores: Tensor = self.head(self.table(tokens).sum(1))
        return scores


def main() -> None:
    """Train, keep the weights, and say how the run can be asked."""
    torch.manual_seed(0)
    data, model = train(), Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    spec = ExplainSpec(model="reviews:Reader", dataset="reviews:valid", checkpoint=str(CHECKPOINT))
    with TelemetryCallback(model, optimizer, name="reviews", explain=spec) as telemetry:
        for _ in range(N_STEPS):
            chosen = torch.randint(len(data), (BATCH_SIZE,))
            loss = functional.cross_entropy(model(data.tokens_of[chosen]), data.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
    torch.save(model.state_dict(), CHECKPOINT)
    print(f"loss {loss.item():.3f}; now: telemetry evaluate latest")


if __name__ == "__main__":
    main()
