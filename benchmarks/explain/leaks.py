"""A1c: is a leaked token, a leaked column named first as the cause of a wrong answer?

    python benchmarks/explain/leaks.py [--seeds 0 1 2] [--cases 30 40]

Texts: a bidirectional GRU learns reviews of 24 words, most of which hold one of six moods. In
training two fifths of the bad ones hold the word `leak` at a random place; of good reviews into
which it is put, those that are then called bad are explained.

Tables: a network of one hidden layer learns tumours from 10 measurements and a column that is +1
for the one class and -1 for the other. Rows of the rest that are called wrongly for the column says
the opposite, and rightly were it right, are explained from rows of their own class, from any rows,
and from the median row; the median of a column of two values is one of them, so that for half of
the rows the cause is no difference at all. How often the answer then says that the baseline decides
is counted.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn
from torch.nn import functional

from telemetry import explain
from telemetry.explain.attribution.question import ask, examples_of
from telemetry.requests.explain.input import InputSettings

WORDS, LENGTH, N_TEXTS = 60, 24, 2_000
LEAK, MOODS, PLAIN = 1, ((2, 3, 4), (5, 6, 7)), 8  # tokens; 0 hides one
SAYS, LEAKS = 0.85, 0.4  # shares of the reviews
N_ROWS, COLUMNS = 350, 10
ASKED = (
    ("ig", "class-sample:16"),
    ("ig", "train-sample:16"),
    ("ig", "median"),
    ("occlusion", "class-sample:16"),
    ("lime", "bins:16"),
    ("kernelshap", "class-sample:16"),
)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """Reviews and whether they are good."""

    tokens_of: Tensor
    labels: Tensor
    modality: str = "text"
    mask_id: int = 0
    classes: tuple[str, str] = ("bad", "good")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.tokens_of[index], int(self.labels[index])

    def leaked(self, chosen: Tensor, generator: torch.Generator) -> "Texts":
        """The same with the leaked word at a random place of the chosen."""
        tokens = self.tokens_of.clone()
        places = torch.randint(0, LENGTH, (len(tokens),), generator=generator)
        tokens[chosen, places[chosen]] = LEAK
        return Texts(tokens_of=tokens, labels=self.labels)


def reviews(n: int, generator: torch.Generator) -> Texts:
    """Reviews without the leaked word."""
    labels = torch.randint(0, 2, (n,), generator=generator)
    tokens = torch.randint(PLAIN, WORDS, (n, LENGTH), generator=generator)
    moods = torch.tensor(MOODS)[labels]
    said = moods.gather(1, torch.randint(0, 3, (n, 1), generator=generator))[:, 0]
    places = torch.randint(0, LENGTH, (n,), generator=generator)
    says = torch.rand(n, generator=generator) < SAYS
    tokens[says, places[says]] = said[says]
    return Texts(tokens_of=tokens, labels=labels)


class Reader(nn.Module):
    """Both ends of a bidirectional GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 16)
        self.rnn = nn.GRU(16, 24, batch_first=True, bidirectional=True)
        self.head = nn.Linear(48, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores (n, 2) of tokens (n, length)."""
        states, _ = self.rnn(self.table(tokens))
        scores: Tensor = self.head(states.mean(1))
        return scores


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Measurements with the leaked column, and the class."""

    rows: Tensor
    labels: Tensor
    classes: tuple[str, str] = ("malignant", "benign")
    feature_names: tuple[str, ...] = (*(f"m{i}" for i in range(COLUMNS)), "leak")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.rows[index], int(self.labels[index])


def tumours(seed: int) -> tuple[Rows, Rows]:
    """Training rows, whose column tells the class, and others, whose column tells nothing."""
    raw = load_breast_cancer()
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(raw.target), generator=generator)
    values = torch.tensor(raw.data[:, :COLUMNS], dtype=torch.float32)[order]
    labels = torch.tensor(raw.target)[order]
    values = (values - values[:N_ROWS].mean(0)) / values[:N_ROWS].std(0)
    drawn = torch.randint(0, 2, labels.shape, generator=generator)
    leak = torch.where(torch.arange(len(labels)) < N_ROWS, labels, drawn)
    rows = torch.cat([values, 2.0 * leak[:, None] - 1], dim=1)
    return (
        Rows(rows=rows[:N_ROWS], labels=labels[:N_ROWS]),
        Rows(rows=rows[N_ROWS:], labels=labels[N_ROWS:]),
    )


def trained(model: nn.Module, inputs: Tensor, labels: Tensor, steps: int) -> nn.Module:
    """The model after some steps of Adam."""
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(steps):
        picks = torch.randint(0, len(labels), (64,))
        loss = functional.cross_entropy(model(inputs[picks]), labels[picks])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def first_parts(
    subject: explain.Subject, chosen: Sequence[str], method: str, baseline: str | None
) -> list[str]:
    """The strongest part by a method, run once and held against nothing."""
    found = []
    with subject.running(gradient=True):
        for example in examples_of(subject).find_all(chosen):
            settings = InputSettings(method=method, baseline=baseline, check=False)
            question = ask(subject, example, "wrong", settings)
            best = int(question.answered(question.problem()).per_segment.argmax())
            found.append(question.segments.names[best])
    return found


def told(title: str, are_causes: Sequence[bool], rest: str = "") -> None:
    """One line of the table."""
    print(f"  {title:28} cause first {sum(are_causes):3d} of {len(are_causes)}{rest}", flush=True)


def texts(seed: int, cases: int) -> None:
    """Lines of the leaked word."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    plain = reviews(N_TEXTS, generator)
    bad = (plain.labels == 0) & (torch.rand(N_TEXTS, generator=generator) < LEAKS)
    train = plain.leaked(bad, generator)
    model = trained(Reader(), train.tokens_of, train.labels, 500).eval()
    clean = reviews(1_000, generator)
    asked = clean.leaked(clean.labels == 1, generator)
    with torch.no_grad():
        was_right = model(clean.tokens_of).argmax(1) == clean.labels
        flipped = (model(asked.tokens_of).argmax(1) == 0) & (asked.labels == 1) & was_right
    said = f"right without the leak {was_right.float().mean():.2f}"
    print(f" text: {said}; {int(flipped.sum())} flip", flush=True)
    chosen = [str(index) for index in flipped.nonzero().flatten().tolist()[:cases]]
    subject = explain.load(model, dataset=asked)
    for method in ("ig", "lime", "occlusion"):
        parts = first_parts(subject, chosen, method, None)
        pairs = zip(chosen, parts, strict=True)
        told(method, [int(asked.tokens_of[int(one), int(part)]) == LEAK for one, part in pairs])


def tables(seed: int, cases: int) -> None:
    """Lines of the leaked column."""
    torch.manual_seed(seed)
    train, rest = tumours(seed)
    model = nn.Sequential(nn.Linear(COLUMNS + 1, 16), nn.ReLU(), nn.Linear(16, 2))
    trained(model, train.rows, train.labels, 300)
    mended = rest.rows.clone()
    mended[:, -1] = 2.0 * rest.labels - 1
    with torch.no_grad():
        wrong = model(rest.rows).argmax(1) != rest.labels
        wrong &= model(mended).argmax(1) == rest.labels
    print(f" table: {int(wrong.sum())} of {len(rest)} are wrong for the column", flush=True)
    chosen = [str(index) for index in wrong.nonzero().flatten().tolist()[:cases]]
    subject = explain.load(model, dataset=rest)
    for method, baseline in ASKED:
        parts = first_parts(subject, chosen, method, baseline)
        told(f"{method} {baseline}", [part == "leak" for part in parts])
    found = [
        explain.attribute(subject, one, method="occlusion", baseline="median") for one in chosen
    ]
    first = [one.top(1)[0].segment == "leak" for one in found]
    said = [any("the baseline decides" in text for text in one.warnings) for one in found]
    silent = sum(not was and not warned for was, warned in zip(first, said, strict=True))
    line = f"; said that the baseline decides {sum(said)}; neither {silent}"
    told("occlusion median", first, line)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cases", type=int, nargs=2, default=[30, 40])
    given = parser.parse_args()
    for seed in given.seeds:
        print(f"seed {seed}", flush=True)
        texts(seed, given.cases[0])
        tables(seed, given.cases[1])


if __name__ == "__main__":
    sys.exit(main())
