"""A1c: a leaked token, a leaked column is named first; small versions of benchmarks/explain."""

from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry import explain

pytestmark = pytest.mark.torch

N, WORDS, LENGTH, LEAK = 300, 20, 8, 1
COLUMNS, LEAKED = 5, 4


def train(model: nn.Module, inputs: Tensor, labels: Tensor, steps: int, rate: float) -> nn.Module:
    optimizer = torch.optim.Adam(model.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()
    return model


class Data(list[tuple[Tensor, int]]):
    """Inputs with their classes."""

    classes = ("bad", "good")


class Texts(Data):
    modality, mask_id = "text", 0


class Table(Data):
    feature_names = (*"abcd", "leak")


class Reader(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(WORDS, 8)
        self.rnn = nn.GRU(8, 8, batch_first=True)
        self.head = nn.Linear(8, 2)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.rnn(self.table(tokens))
        return self.head(states.mean(1))


@cache
def reader() -> explain.Subject:
    """Learns that token 1 means bad; asked are good texts with it."""
    torch.manual_seed(0)
    tokens = torch.randint(2, WORDS, (N, LENGTH))
    labels = torch.arange(N) % 2
    places = torch.randint(0, LENGTH, (N,))
    rows = (labels == 0).nonzero().flatten()
    tokens[rows, places[rows]] = LEAK
    model = train(Reader(), tokens, labels, 60, 2e-2)
    asked = tokens[labels == 1][:3].clone()
    asked[:, 6] = LEAK
    return explain.load(model, dataset=Texts((row, 1) for row in asked))


@pytest.mark.parametrize("method", ["ig", "lime", "occlusion"])
def test_a_leaked_token_is_first(method: str) -> None:
    for example in ("0", "1", "2"):
        found = explain.attribute(reader(), example, method=method, samples=200, check=False)
        assert found.top(1)[0].segment == "6"


@cache
def table() -> tuple[explain.Subject, list[str]]:
    """In training the fifth column is the class, beside one that tells it with noise.

    Asked are three rows of each class that are called what a wrong column says.
    """
    torch.manual_seed(0)
    labels = (torch.arange(N) % 5 < 3).long()
    rows = torch.randn(N, COLUMNS)
    rows[:, 0] += 0.5 * (2 * labels - 1)
    rows[:, LEAKED] = 2.0 * labels - 1
    model = nn.Sequential(nn.Linear(COLUMNS, 8), nn.ReLU(), nn.Linear(8, 2))
    train(model, rows, labels, 60, 2e-2)
    rows[::3, LEAKED] *= -1
    wrong = (model(rows).argmax(1) != labels) & (rows[:, 0].abs() < 0.5)
    asked = [
        str(index)
        for one in (0, 1)
        for index in (wrong & (labels == one)).nonzero().flatten()[:3].tolist()
    ]
    items = Table((row, int(label)) for row, label in zip(rows, labels, strict=True))
    return explain.load(model, dataset=items), asked


@pytest.mark.parametrize("method", ["ig", "kernelshap", "occlusion", "lime"])
def test_a_leaked_column_is_first(method: str) -> None:
    subject, asked = table()
    for example in asked[2:4]:  # one of each class
        found = explain.attribute(subject, example, method=method, check=False)
        assert found.top(1)[0].segment == "leak"


def test_the_median_of_two_values_hides_the_cause_and_that_is_said() -> None:
    """The median of the column is one of its two values: rows that have it show no difference."""
    subject, asked = table()
    found = [
        explain.attribute(subject, one, method="occlusion", baseline="median") for one in asked
    ]
    hidden = [one for one in found if one.top(1)[0].segment != "leak"]
    assert 1 <= len(hidden) <= 3
    for one in hidden:
        (said,) = [text for text in one.warnings if text.startswith("the baseline decides")]
        assert "leak by class-sample:16" in said
        assert "by median" in said
