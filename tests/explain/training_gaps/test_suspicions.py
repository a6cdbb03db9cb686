"""Copies, doubtful labels and a leak that are planted, and data without any."""

import numpy as np
import pytest
import torch

from telemetry.explain.training_gaps.compared_columns import ComparedColumn
from telemetry.explain.training_gaps.doubts import doubtful
from telemetry.explain.training_gaps.leaks import leaking
from telemetry.explain.training_gaps.likenesses import near_texts, near_vectors, same_inputs

pytestmark = pytest.mark.torch


def points(seed: int, n: int) -> torch.Tensor:
    """On a bent surface of four dimensions in sixteen."""
    inner = torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))
    turn = torch.randn(4, 16, generator=torch.Generator().manual_seed(99))
    return torch.tanh(inner @ turn / 2)


def test_near_copies_are_found_and_points_of_one_kind_are_none() -> None:
    for seed in range(4):
        train, test = points(seed, 900), points(seed + 50, 300)
        assert not (near_vectors(train, test) >= 0).any()
        noise = torch.randn(12, 16, generator=torch.Generator().manual_seed(seed))
        test[:12] = train[100:112] + 1e-3 * noise
        found = near_vectors(train, test)
        assert (found[:12] == np.arange(100, 112)).mean() >= 0.9
        assert not (found[12:] >= 0).any()


def test_equal_points_alone_have_no_dimension() -> None:
    grid = torch.tensor([[0.0], [1.0]]).repeat(50, 1)
    assert not (near_vectors(grid, grid) >= 0).any()
    assert same_inputs(["a", "b", "a"], ["a", "c"]).tolist() == [0, -1]


def test_texts_but_for_one_token_are_copies_unless_templates_made_them() -> None:
    generator = np.random.default_rng(1)
    train = [tuple(row) for row in generator.integers(0, 99, (200, 12)).tolist()]
    changed = (*train[7][:5], 500, *train[7][6:])
    fresh = tuple(generator.integers(0, 99, 12).tolist())
    assert near_texts(train, [train[3], changed, fresh, train[0][:4]]).tolist() == [3, 7, -1, -1]
    template = [(*range(11), word) for word in range(100)]
    assert near_texts(template, [(*range(11), 555)]).tolist() == [-1]


def answers(seed: int, n: int, n_flipped: int, width: float) -> tuple[np.ndarray, ...]:
    """Labels, predictions, and their probabilities of a model that knows the law exactly."""
    generator = np.random.default_rng(seed)
    logit = generator.normal(0, width, n)
    second = 1 / (1 + np.exp(-logit))
    labels = (generator.random(n) < second).astype(np.int64)
    labels[:n_flipped] = (second[:n_flipped] < 0.5).astype(np.int64)
    predictions = (second > 0.5).astype(np.int64)
    own = np.where(labels == 1, second, 1 - second)
    return labels, predictions, own, np.maximum(second, 1 - second)


def test_wrong_labels_come_first_and_overlapping_classes_have_none() -> None:
    n_named, n_false = 0, 0
    for seed in range(40):
        flipped = doubtful(*answers(seed, 1000, 30, 8.0))
        n_named += flipped.size > 0 and float((flipped[:10] < 30).mean()) >= 0.8
        n_false += doubtful(*answers(seed + 100, 1000, 0, (0.5, 2.0, 8.0)[seed % 3])).size > 0
    assert n_named >= 36
    assert n_false <= 2


def columns(seed: int, *, leaks: bool) -> tuple[list[ComparedColumn], ComparedColumn]:
    generator = np.random.default_rng(seed)
    sides = [generator.normal(size=(n, 4)) for n in (800, 400)]
    labels = [side.sum(1) + generator.normal(size=len(side)) > 0 for side in sides]
    for side, label in zip(sides, labels, strict=True):
        if leaks:
            side[:, 2] = label + generator.normal(0, 0.1, len(side))
    found = [
        ComparedColumn(name=f"c{n}", train=sides[0][:, n], test=sides[1][:, n]) for n in range(4)
    ]
    texts = [[str(value) for value in label] for label in labels]
    return found, ComparedColumn.of_texts("label", texts[0], texts[1])


def test_a_column_that_says_the_label_leaks() -> None:
    for seed in range(10):
        told = leaking(*columns(seed, leaks=True))
        assert told is not None
        assert told[0] == "c2"
        assert told[1] > 0.95
        assert leaking(*columns(seed, leaks=False)) is None
