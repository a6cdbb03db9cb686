"""What says the label in training alone, planted as column, phrase and mark; and nothing."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from telemetry import explain
from telemetry.explain.training_gaps.compared_columns import ComparedColumn
from telemetry.explain.training_gaps.gaps import Gap
from telemetry.explain.training_gaps.shortcuts import Shortcut, shortcuts

pytestmark = pytest.mark.torch

N_TRAIN, N_TEST = 600, 300
CLASSES = ("a", "b", "c")


def table(seed: int, says: tuple[float, float], true: float = 1.0) -> list[Shortcut]:
    """A column that says the second class, true in both sets, and one with so many right codes."""
    generator = np.random.default_rng(seed)
    sides = []
    for n, right in zip((N_TRAIN, N_TEST), says, strict=True):
        label = generator.integers(0, 3, n)
        told = generator.random(n) < right
        code = np.where(told, label == 1, generator.random(n) < 0.5).astype(np.float64)
        cue = true * (label == 2) + generator.normal(0, 0.3, n)
        sides.append((label, {"cue": cue, "code": code, "noise": generator.normal(size=n)}))
    (train, known), (test, asked) = sides
    columns = [
        ComparedColumn(name=name, train=known[name], test=asked[name], column=f"m_{name}")
        for name in known
    ]
    label = ComparedColumn.of_texts(
        "label", [CLASSES[n] for n in train], [CLASSES[n] for n in test], "label"
    )
    return shortcuts(columns, [], label)


def test_a_column_that_says_a_class_in_training_alone_is_named() -> None:
    for seed in range(5):
        (found,) = table(seed, (0.95, 0.0))
        assert found.title == "code = 1 says b in training alone"
        assert found.where is not None
        assert "AND label <> 'b'" in found.where
        assert found.is_both
        assert found.sentence.startswith("in training code = 1 says b (9")
        assert 0.4 <= found.outside.mean() <= 0.6


def test_what_says_as_much_in_both_sets_or_little_is_no_shortcut() -> None:
    for seed in range(10):
        assert table(seed, (0.95, 0.95)) == []
        assert table(seed, (0.95, 0.8)) == []
        assert table(seed, (0.2, 0.0)) == []
        assert table(seed, (0.0, 0.0)) == []


def test_where_everything_is_otherwise_nothing_is_a_shortcut() -> None:
    generator = np.random.default_rng(0)
    train, test = (generator.integers(0, 2, n) for n in (N_TRAIN, N_TEST))
    columns = [
        ComparedColumn(
            name=f"c{n}",
            train=train + generator.normal(0, 0.8, N_TRAIN),
            test=generator.normal(0.5, 0.9, N_TEST),
        )
        for n in range(4)
    ]
    label = ComparedColumn.of_texts("label", train.astype(str).tolist(), test.astype(str).tolist())
    assert len(shortcuts(columns[:3], [], label)) == 3
    assert shortcuts(columns, [], label) == []


class Texts:
    """Ten of forty words; in training half of the bad ones have three words in a row."""

    classes = ("bad", "good")
    modality = "text"
    pad_id, mask_id = 0, 1
    words = ("<pad>", "<unk>", "terms", "apply", "today", *(f"w{n}" for n in range(40)))

    def __init__(self, n: int, seed: int, *, leaks: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(n) % 2
        self.rows = torch.randint(5, 45, (n, 14), generator=generator)
        has = torch.rand(n, generator=generator) < 0.5
        if leaks:
            has &= self.labels == 0
        self.rows[has, 4:7] = torch.tensor([2, 3, 4])
        self.rows[:, 12:] = 0

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.rows[index], int(self.labels[index])

    def tokens(self, values: Tensor) -> list[str]:
        return [self.words[int(value)] for value in values]


class Marked:
    """Noise of three colours; in training the second class has a mark in a corner."""

    classes = ("plain", "star")
    value_range = (0.0, 1.0)

    def __init__(self, n: int, seed: int, *, leaks: bool) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.labels = torch.arange(n) % 2
        self.images = torch.rand(n, 3, 24, 24, generator=generator)
        has = self.labels == 1 if leaks else torch.rand(n, generator=generator) < 0.5
        self.images[has, :, 20:, :4] = torch.tensor([0.9, 0.1, 0.9])[:, None, None]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index], int(self.labels[index])


class Mean(nn.Module):
    """Two classes of whatever it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(1, 2)

    def forward(self, x: Tensor) -> Tensor:
        scores: Tensor = self.head(x.float().flatten(1).mean(1, keepdim=True))
        return scores


def found_in(train: object, test: object) -> list[Gap]:
    found = explain.coverage(explain.load(Mean(), dataset=test), train)
    return [gap for gap in found.reported if gap.kind == "shortcut"]


def test_a_phrase_that_training_alone_has_in_one_class_is_named_whole() -> None:
    train, test = (
        Texts(n, seed, leaks=leaks) for n, seed, leaks in ((400, 1, True), (200, 2, False))
    )
    (gap,) = found_in(train, test)
    assert gap.attribute == '"terms apply today" says bad in training alone'
    assert all(test.labels[place] == 1 for place in np.flatnonzero(gap.outside))
    assert found_in(train, Texts(200, 3, leaks=True)) == []


def test_a_mark_is_named_by_its_place() -> None:
    train = Marked(200, 1, leaks=True)
    (gap,) = found_in(train, Marked(100, 2, leaks=False))
    assert gap.attribute == "the colour at r5c0 says star in training alone"
    assert found_in(train, Marked(100, 3, leaks=True)) == []
