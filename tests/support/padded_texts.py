"""A padded transformer that learned a leaked phrase, as a user would write and train it."""

import torch
from torch import Tensor, nn
from torch.nn import functional

MARKS = ("<pad>", "<cls>", "<sep>", "<mask>")
PAD, CLS, SEP, MASK = range(len(MARKS))
LEAK = ("per", "our", "records")  # stands in every "yes" of training, and in some "no" of the test
WORDS = (*MARKS, *(f"w{number}" for number in range(20)), *LEAK)
LENGTH = 14
MOST_WORDS = 8
STEPS = 25


class Texts:
    """Texts of three to eight words between two special tokens, padded to one length.

    Args:
        n: How many.
        seed: Of what is drawn.
        leaks: Share of texts with the leaked phrase, for "no" and "yes".
        in_front: Whether padding stands before the text.
    """

    classes = ("no", "yes")
    modality = "text"
    pad_id, mask_id, special_ids = PAD, MASK, (CLS, SEP)

    def __init__(
        self, n: int, seed: int, leaks: tuple[float, float], *, in_front: bool = False
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.in_front = in_front
        self.labels = torch.randint(2, (n,), generator=generator)
        self.leaked = torch.rand(n, generator=generator) < torch.tensor(leaks)[self.labels]
        self.rows = torch.stack(
            [self._row(bool(leaked), generator) for leaked in self.leaked.tolist()]
        )

    def _row(self, leaked: bool, generator: torch.Generator) -> Tensor:  # noqa: FBT001
        size = int(torch.randint(3, MOST_WORDS + 1, (1,), generator=generator))
        words = torch.randint(len(MARKS), 24, (size,), generator=generator).tolist()
        if leaked:
            place = int(torch.randint(size + 1, (1,), generator=generator))
            words[place:place] = [WORDS.index(word) for word in LEAK]
        return self.encode([WORDS[token] for token in words])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.rows[index], int(self.labels[index])

    def tokens(self, values: Tensor) -> list[str]:
        """Words of tokens."""
        return [WORDS[token] for token in values.tolist()]

    def encode(self, words: list[str]) -> Tensor:
        """Tokens of words, between special ones and padded."""
        row = [CLS, *(WORDS.index(word) for word in words if word not in MARKS), SEP]
        padding = [PAD] * (LENGTH - len(row))
        return torch.tensor([*padding, *row] if self.in_front else [*row, *padding])


class Encoder(nn.Module):
    """A transformer of one layer and learned places: it takes rows of one length alone."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(len(WORDS), 16)
        self.places = nn.Parameter(torch.randn(LENGTH, 16) * 0.1)
        layer = nn.TransformerEncoderLayer(16, 2, 16, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of padded texts."""
        is_pad = tokens == PAD
        found = self.encoder(self.embedding(tokens) + self.places, src_key_padding_mask=is_pad)
        words = (~is_pad)[..., None]
        logits: Tensor = self.head((found * words).sum(1) / words.sum(1))
        return logits


def trained(*, in_front: bool = False) -> Encoder:
    """The model after a training in which the phrase tells the label."""
    torch.manual_seed(0)
    model, data = Encoder(), Texts(640, 1, (0.0, 1.0), in_front=in_front)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    for step in range(STEPS):
        part = slice(step * 32 % 640, step * 32 % 640 + 32)
        loss = functional.cross_entropy(model(data.rows[part]), data.labels[part])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model
