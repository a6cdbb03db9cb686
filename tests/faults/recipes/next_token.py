"""A small decoder of texts in which each word depends on the one before it."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import TelemetryCallback

Record = Callable[..., TelemetryCallback]
N_WORDS, LENGTH, WIDTH = 12, 10, 32


class Decoder(nn.Module):
    """One attention over the words so far, or over all of them."""

    def __init__(self, mask: str) -> None:
        super().__init__()
        self.words = nn.Embedding(N_WORDS, WIDTH)
        self.places = nn.Embedding(LENGTH, WIDTH)
        self.project = nn.Linear(WIDTH, 3 * WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, N_WORDS)
        self.recurrence = nn.LSTM(WIDTH, WIDTH, batch_first=True) if mask == "recurrent" else None
        self.mask = mask

    def forward(self, words: Tensor) -> Tensor:
        """Logits of the next word at each place."""
        n = words.shape[1]
        places = self.places(torch.arange(n))
        x = self.words(words) + places
        told = x + self._attended(x, n) if self.recurrence is None else self.recurrence(x)[0]
        out: Tensor = self.head(self.norm(told))
        return out

    def _attended(self, x: Tensor, n: int) -> Tensor:
        query, key, value = self.project(x).chunk(3, -1)
        if self.mask == "by_hand":
            scores = (query @ key.mT / WIDTH**0.5).masked_fill(_later(n), -torch.inf)
            return scores.softmax(-1) @ value
        if self.mask == "zeroed":  # before the softmax, where it hides nothing
            scores = (query @ key.mT / WIDTH**0.5).masked_fill(_later(n), 0.0)
            return scores.softmax(-1) @ value
        mask = _later(n, 2).logical_not() if self.mask == "one_off" else None
        return functional.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=self.mask == "causal"
        )


def _later(n: int, first: int = 1) -> Tensor:
    return torch.ones(n, n, dtype=torch.bool).triu(first)


def train(
    record: Record, *, seed: int, mask: str = "causal", task: str = "next", steps: int = 100
) -> None:
    """Train and record once.

    Args:
        record: Makes the callback.
        seed: Of model and data.
        mask: `causal` or `by_hand`; `none`, `zeroed` and `one_off` hide less; `recurrent`
            has no attention.
        task: `next` word, `hidden` words, or each `own` word.
        steps: Optimizer steps.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Decoder(mask)
    optimizer = torch.optim.Adam(model.parameters(), 5e-3)
    table = torch.rand(N_WORDS, N_WORDS, generator=generator).pow(6)
    with record(model, optimizer) as telemetry:
        for _ in range(steps):
            words = [torch.randint(N_WORDS, (32,), generator=generator)]
            for _ in range(LENGTH):
                words.append(torch.multinomial(table[words[-1]], 1, generator=generator)[:, 0])
            text = torch.stack(words, 1)
            given, targets = text[:, :-1], text[:, 1:]
            if task == "hidden":
                hidden = torch.rand(given.shape, generator=generator) < 0.3
                given, targets = given.masked_fill(hidden, 0), given.masked_fill(~hidden, -100)
            if task == "own":
                targets = given
            loss = functional.cross_entropy(model(given).flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            telemetry.step(loss=loss)
