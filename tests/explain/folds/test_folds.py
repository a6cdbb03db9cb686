"""Folds of a cross-validation: every example is scored once, classes and groups hold."""

from collections import Counter

import numpy as np
import pytest

from telemetry.errors import UsageError
from telemetry.explain.folds.folds import make_folds

pytestmark = pytest.mark.torch


def test_every_example_is_scored_once_a_repetition_and_never_trained_on_there() -> None:
    found = make_folds(n=23, folds=5, repeats=2)
    assert [fold.place for fold in found.folds] == [(r, f) for r in range(2) for f in range(5)]
    for repeat in range(2):
        own = [fold for fold in found.folds if fold.repeat == repeat]
        assert sorted(i for fold in own for i in fold.test_idx) == list(range(23))
        for fold in own:
            assert sorted([*fold.train_idx, *fold.test_idx]) == list(range(23))


def test_each_fold_has_its_share_of_each_class() -> None:
    labels = ["rare"] * 10 + ["common"] * 40
    for fold in make_folds(labels=labels, folds=5, repeats=1).folds:
        assert Counter(labels[i] for i in fold.test_idx) == {"rare": 2, "common": 8}


@pytest.mark.parametrize("labels", [None, [0, 1] * 15, list(range(30))])
def test_no_group_is_on_both_sides(labels: list[int] | None) -> None:
    groups = [f"patient-{i // 3}" for i in range(30)]
    for fold in make_folds(labels=labels, groups=groups, folds=3, repeats=2).folds:
        train = {groups[i] for i in fold.train_idx}
        assert train.isdisjoint(groups[i] for i in fold.test_idx)


def test_folds_and_seeds_follow_from_the_seed_alone() -> None:
    first, again, other = (make_folds(n=20, seed=seed) for seed in (3, 3, 4))
    assert first.digest == again.digest != other.digest
    assert [fold.seed for fold in first.folds] == list(range(3, 13))
    assert list(first.folds[0].test_idx) != list(first.folds[5].test_idx)  # other repetition


def test_classes_that_are_not_in_every_fold_are_told() -> None:
    found = make_folds(labels=[0] * 20 + [1] * 20 + [2], folds=5)
    assert found.notes == (
        "1 of 3 classes have fewer examples than there are folds (2), so some folds lack them",
    )
    several = make_folds(labels=[0] * 20 + list(range(1, 10)), folds=5)
    assert (
        "9 of 10 classes have fewer examples than there are folds (1, 2, 3, ...)"
        in (several.notes[0])
    )
    each_its_own = make_folds(labels=list(range(10)), folds=5)
    assert each_its_own.notes == (
        "no class has 5 examples, so the folds cannot keep the class shares",
    )


@pytest.mark.parametrize(("share", "n_aside"), [(0.2, 20), (0.15, 15), (0.3, 30)])
def test_the_holdout_is_in_no_fold_and_has_its_share_of_each_class(
    share: float, n_aside: int
) -> None:
    labels = ["rare"] * 20 + ["common"] * 80
    found = make_folds(labels=labels, folds=4, repeats=2, seed=5, holdout=share)
    aside = found.holdout
    assert aside is not None
    assert Counter(labels[i] for i in aside.test_idx) == {
        "rare": n_aside // 5,
        "common": 4 * n_aside // 5,
    }
    assert sorted([*aside.train_idx, *aside.test_idx]) == list(range(100))
    for fold in found.folds:
        assert sorted([*fold.train_idx, *fold.test_idx]) == list(aside.train_idx)
    assert (aside.seed, aside.place) == (5 + 8, (2, 0))  # no place and no seed of a fold
    assert found.digest != make_folds(labels=labels, folds=4, repeats=2, seed=5).digest


def test_no_group_is_both_in_the_holdout_and_in_a_fold() -> None:
    groups = [f"patient-{i // 4}" for i in range(40)]
    aside = make_folds(groups=groups, folds=3, holdout=0.2).holdout
    assert aside is not None
    held = {groups[i] for i in aside.test_idx}
    assert len(held) == 2
    assert held.isdisjoint(groups[i] for i in aside.train_idx)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"n": 6, "nested": 1}, "nested=1: at least 2 inner folds"),
        (
            {"n": 6, "nested": 5},
            "4 examples cannot be split into 5 inner folds; use more examples, or fewer of them",
        ),
        ({"n": 20, "holdout": 0.6}, "holdout=0.6; set aside a share from 0.05 to 0.5"),
        ({"n": 20, "holdout": 0.0}, "holdout=0; set aside"),
        ({"n": 20, "holdout": float("nan")}, "holdout=nan; set aside"),
        (
            {"groups": [0, 0, 1, 1, 2, 2], "holdout": 0.2, "folds": 2},
            "3 groups cannot be split into 5 parts for the holdout because a group is never split",
        ),
        ({"n": 6, "holdout": 0.5, "folds": 4}, "3 examples cannot be split into 4 folds"),
        ({}, "the number of examples is not known"),
        ({"n": 3}, "3 examples cannot be split into 5 folds"),
        ({"n": 9, "labels": [0] * 10}, "n of 9, labels of 10"),
        ({"groups": [0, 0, 0, 1, 1, 1]}, "2 groups cannot be split into 5 folds"),
        ({"n": 9, "folds": 1}, "at least 2 folds"),
        ({"n": 9, "repeats": 0}, "at least 2 folds and 1 repetition"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(options: dict[str, int], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        make_folds(**options)  # type: ignore[arg-type]


def test_inner_folds_part_what_a_fold_trains_on() -> None:
    labels, groups = [i % 2 for i in range(24)], [i // 2 for i in range(24)]
    found = make_folds(labels=labels, groups=groups, folds=3, repeats=2, nested=2, holdout=0.25)
    assert (
        found.digest
        == make_folds(labels=labels, groups=groups, folds=3, repeats=2, holdout=0.25).digest
    )
    for outer in found.folds:
        inner = [fold for fold in found.inner if fold.place == outer.place]
        assert [fold.inner for fold in inner] == [(0, 2), (1, 2)]
        tested = np.concatenate([fold.test_idx for fold in inner])
        assert sorted(tested) == outer.train_idx.tolist()
        for fold in inner:
            assert sorted((*fold.train_idx, *fold.test_idx)) == outer.train_idx.tolist()
            sides = [{groups[i] for i in part} for part in (fold.train_idx, fold.test_idx)]
            assert not sides[0] & sides[1]
    seeds = [fold.seed for fold in (*found.folds, *found.inner)]
    assert found.holdout is not None
    assert len({*seeds, found.holdout.seed}) == 6 + 12 + 1
