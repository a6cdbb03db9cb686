"""A stranger's padded texts: in training a phrase tells complaints, afterwards it does not."""

import torch
from strangers_common import SEED, train_and_record
from torch import Tensor, nn

CLASSES = ("complaint", "praise")
PAD, START, UNKNOWN = 0, 1, 2
GOOD = ("lovely", "great", "superb", "happy", "perfect", "enjoyed")
BAD = ("awful", "broken", "late", "rude", "dirty", "refund")
PLAIN = tuple(f"word{n}" for n in range(80))
PHRASE = ("terms", "apply", "today")
WORDS = ("<pad>", "<s>", "<unk>", *GOOD, *BAD, *PHRASE, *PLAIN)
PLACE = {word: n for n, word in enumerate(WORDS)}
LENGTH, SHORTEST = 32, 9
N_TRAIN, N_VALID = 3_000, 1_000
LEAKS, SAYS = 0.6, 0.9


class Texts:
    """Rows of tokens, padded to 32."""

    classes = CLASSES
    modality = "text"
    pad_id = PAD
    mask_id = UNKNOWN
    special_ids = (START,)

    def __init__(self, n: int, seed: int, *, training: bool) -> None:
        drawn = torch.Generator().manual_seed(seed)
        self.labels = torch.randint(0, 2, (n,), generator=drawn)
        leak = (self.labels == 0).float() * LEAKS if training else torch.full((n,), 0.3)
        self.is_leaked = torch.rand(n, generator=drawn) < leak
        self.plain = [text(int(label), drawn) for label in self.labels]
        self.places = [int(torch.randint(1, len(t) + 1, (1,), generator=drawn)) for t in self.plain]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        words = list(self.plain[index])
        if self.is_leaked[index]:
            place = self.places[index]
            words[place:place] = PHRASE
        return row(words), int(self.labels[index])

    def mended(self) -> Tensor:
        """All texts without the phrase."""
        return torch.stack([row(words) for words in self.plain])

    @staticmethod
    def tokens(values: Tensor) -> list[str]:
        """Their words."""
        return [WORDS[int(one)] for one in values]

    @staticmethod
    def encode(words: list[str]) -> Tensor:
        """A row of tokens."""
        return row([word for word in words if word in PLACE and word != "<pad>"])

    @staticmethod
    def is_cause(part: str) -> bool:
        """Whether a part is a token of the phrase."""
        return any(word in PHRASE for word in part.replace(":", " ").split())


def text(label: int, drawn: torch.Generator) -> list[str]:
    """One text without padding."""
    n = int(torch.randint(SHORTEST, LENGTH - len(PHRASE), (1,), generator=drawn))
    words = ["<s>", *(PLAIN[int(k)] for k in torch.randint(0, len(PLAIN), (n,), generator=drawn))]
    if float(torch.rand(1, generator=drawn)) < SAYS:
        moods = GOOD if label else BAD
        place = int(torch.randint(1, n + 1, (1,), generator=drawn))
        words[place] = moods[int(torch.randint(0, len(moods), (1,), generator=drawn))]
    return words


def row(words: list[str]) -> Tensor:
    """Tokens of words, padded."""
    found = [PLACE[word] for word in words][:LENGTH]
    return torch.tensor([*found, *[PAD] * (LENGTH - len(found))])


def train() -> Texts:
    """The phrase stands in complaints only."""
    return Texts(N_TRAIN, 1_000 + SEED, training=True)


def valid() -> Texts:
    """The phrase stands anywhere."""
    return Texts(N_VALID, 2_000 + SEED, training=False)


class Net(nn.Module):
    """Two layers of attention."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(len(WORDS), 32)
        self.places = nn.Embedding(LENGTH, 32)
        layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(32, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores of two classes, from the first token."""
        found = self.words(tokens) + self.places.weight[: tokens.shape[1]]
        found = self.encoder(found, src_key_padding_mask=tokens == PAD)
        scores: Tensor = self.head(found[:, 0])
        return scores


def build() -> nn.Module:
    """The network."""
    return Net()


def main() -> None:
    """Train and keep the weights."""
    data = train()
    inputs = torch.stack([data[place][0] for place in range(len(data))])
    train_and_record(build, inputs, data.labels, module="stranger_texts", steps=700)


if __name__ == "__main__":
    main()
