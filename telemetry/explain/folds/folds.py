"""Folds of a cross-validation: made once, the same for every configuration."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from telemetry.errors import UsageError
from telemetry.explain.extras import extra_installed

MOST_NAMES = 3  # of rare classes
MOST_PARTS = 20  # of which some are the holdout: its share is right to 2.5 %
FOLDS, HOLDOUT, INNER = "folds", "parts for the holdout", "inner folds"
REMEDIES = {FOLDS: "fewer folds", HOLDOUT: "a larger share for it", INNER: "fewer of them"}
LEAST_SHARE, MOST_SHARE = 0.05, 0.5

Indices = npt.NDArray[np.int64]
Labels = Sequence[int | float | str | bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """One way to part the examples.

    Attributes:
        repeat: Repetition, from 0.
        fold: Fold of it, from 0.
        seed: Of its training, whatever the configuration.
        train_idx: Places of the examples to train on, ascending, shape (n_train,).
        test_idx: Places of those to score, shape (n_test,).
        is_holdout: Whether those to score are the ones that no fold has.
        inner: Of a fold of the examples that this fold trains on: which one, of how many.
    """

    repeat: int
    fold: int
    seed: int
    train_idx: Indices
    test_idx: Indices
    is_holdout: bool = False
    inner: tuple[int, int] | None = None

    @property
    def place(self) -> tuple[int, int]:
        """Repetition and fold."""
        return self.repeat, self.fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """All folds; the digest tells whether two configurations had the same.

    `holdout` trains on what the folds share and scores what was set aside before; it counts as
    the repetition after the last. `inner` are the folds of what each fold trains on.
    """

    folds: tuple[Fold, ...]
    digest: str
    n_examples: int
    holdout: Fold | None = None
    inner: tuple[Fold, ...] = ()
    notes: tuple[str, ...] = ()


def make_folds(  # noqa: PLR0913 - what a user states of them
    *,
    n: int | None = None,
    labels: Labels | None = None,
    groups: Labels | None = None,
    folds: int = 5,
    repeats: int = 2,
    seed: int = 0,
    holdout: float | None = None,
    nested: int | None = None,
) -> Folds:
    """Folds that hold each class in its share (with labels) and split no group (with groups).

    Args:
        n: Examples there are; None: as many as labels or groups.
        labels: Class of each example.
        groups: Group of each, such as the patient a picture is of.
        folds: Folds a repetition, at least 2.
        repeats: Repetitions, each with folds of its own.
        seed: Decides on the folds, and is the seed of the first one.
        holdout: Share of the examples that no fold gets, parted as folds are; None: no such.
        nested: Inner folds of the examples that each fold trains on; None: no such.

    Raises:
        UsageError: the numbers do not fit each other, or there are too few examples or groups.
    """
    n_examples = _number_of(n, labels, groups)
    if folds < 2 or repeats < 1:  # noqa: PLR2004 - one part has no rest
        raise UsageError(
            f"folds={folds}, repeats={repeats}: at least 2 folds and 1 repetition are needed."
        )
    if nested is not None and nested < 2:  # noqa: PLR2004 - as above
        raise UsageError(f"nested={nested}: at least 2 inner folds are needed.")
    whole = _Examples(places=np.arange(n_examples, dtype=np.int64), labels=labels, groups=groups)
    kept, aside = (whole, None) if holdout is None else _set_aside(whole, holdout, seed)
    found = tuple(
        Fold(
            repeat=repeat,
            fold=fold,
            seed=seed + repeat * folds + fold,
            train_idx=train.places,
            test_idx=test.places,
        )
        for repeat in range(repeats)
        for fold, (train, test) in enumerate(_parted(kept, folds, FOLDS, seed + repeat))
    )
    return Folds(
        folds=found,
        digest=_digest(found),
        n_examples=n_examples,
        holdout=None if aside is None else _last(kept, aside, repeats, seed + repeats * folds),
        inner=() if nested is None else tuple(_inner(whole, found, nested, seed + len(found) + 1)),
        notes=_rare_classes(kept.labels, folds),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Examples:
    """Some of the examples, with what is known of each."""

    places: Indices
    labels: Labels | None
    groups: Labels | None

    def at(self, chosen: Indices) -> "_Examples":
        """Those at some places of these, ascending."""
        order = np.sort(np.asarray(chosen, dtype=np.int64))
        labels, groups = (
            None if values is None else [values[place] for place in order]
            for values in (self.labels, self.groups)
        )
        return _Examples(places=self.places[order], labels=labels, groups=groups)


def _set_aside(whole: _Examples, share: float, seed: int) -> tuple[_Examples, _Examples]:
    """What the folds get, and the holdout: some of many equal parts.

    Raises:
        UsageError: the share is none, or there are too few examples or groups.
    """
    if not LEAST_SHARE <= share <= MOST_SHARE:
        raise UsageError(
            f"holdout={share:g}; set aside a share from {LEAST_SHARE} to {MOST_SHARE}, such as 0.2."
        )
    parts = Fraction(share).limit_denominator(MOST_PARTS)
    every = list(_parted(whole, parts.denominator, HOLDOUT, seed))
    aside = np.concatenate([test.places for _, test in every[: parts.numerator]])
    return whole.at(np.setdiff1d(whole.places, aside)), whole.at(aside)


def _last(kept: _Examples, aside: _Examples, repeat: int, seed: int) -> Fold:
    return Fold(
        repeat=repeat,
        fold=0,
        seed=seed,
        train_idx=kept.places,
        test_idx=aside.places,
        is_holdout=True,
    )


def _inner(
    whole: _Examples, outer: Sequence[Fold], n_inner: int, first_seed: int
) -> Iterator[Fold]:
    """Folds of what each fold trains on, with seeds that no other training has."""
    for number, fold in enumerate(outer):
        own = whole.at(fold.train_idx)
        for inner, (train, test) in enumerate(_parted(own, n_inner, INNER, fold.seed)):
            yield Fold(
                repeat=fold.repeat,
                fold=fold.fold,
                seed=first_seed + number * n_inner + inner,
                train_idx=train.places,
                test_idx=test.places,
                inner=(inner, n_inner),
            )


def _number_of(n: int | None, labels: Labels | None, groups: Labels | None) -> int:
    sizes = {
        "n": n,
        "labels": None if labels is None else len(labels),
        "groups": None if groups is None else len(groups),
    }
    known = {name: size for name, size in sizes.items() if size is not None}
    if not known:
        raise UsageError(
            "the number of examples is not known; pass n, or the labels of all examples."
        )
    if len(set(known.values())) > 1:
        told = ", ".join(f"{name} of {size}" for name, size in known.items())
        raise UsageError(f"{told}: there must be one for each example.")
    return next(iter(known.values()))


def _parted(
    examples: _Examples, parts: int, what: str, seed: int
) -> Iterator[tuple[_Examples, _Examples]]:
    """The rest and each part in turn.

    Raises:
        UsageError: there are too few examples or groups.
    """
    n = len(examples.places)
    if n < parts:
        raise UsageError(
            f"{n} examples cannot be split into {parts} {what}; use more examples, or "
            f"{REMEDIES[what]}."
        )
    if examples.groups is not None and (n_groups := len(set(examples.groups))) < parts:
        raise UsageError(
            f"{n_groups} groups cannot be split into {parts} {what} because a group is never "
            f"split; use {REMEDIES[what]}."
        )
    for rest, part in _split(n, examples.labels, examples.groups, parts, seed):
        yield examples.at(rest), examples.at(part)


def _split(
    n: int, labels: Labels | None, groups: Labels | None, parts: int, seed: int
) -> Iterator[tuple[Indices, Indices]]:
    """Places of the rest and of each part, by scikit-learn."""
    with extra_installed("a fold"):
        from sklearn.model_selection import (  # noqa: PLC0415 - a second, needed by this verb alone
            KFold,
            StratifiedGroupKFold,
            StratifiedKFold,
        )

    options = {"n_splits": parts, "shuffle": True, "random_state": seed % 2**32}
    places = np.arange(n)
    # Classes of which none could be in every part, such as numbers to predict, are not kept apart.
    is_common = labels is not None and max(Counter(labels).values()) >= parts
    classes = _class_numbers(labels) if labels is not None and is_common else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rare classes: told in the notes
        if groups is not None:  # without labels: one class, and groups of equal weight
            own = np.zeros(n, dtype=np.int64) if classes is None else classes
            yield from StratifiedGroupKFold(**options).split(places, own, _class_numbers(groups))
        elif classes is not None:
            yield from StratifiedKFold(**options).split(places, classes)
        else:
            yield from KFold(**options).split(places)


def _class_numbers(labels: Labels) -> Indices:
    """Each class by the place at which it first appears, whatever its type."""
    known: dict[object, int] = {}
    return np.array([known.setdefault(label, len(known)) for label in labels], dtype=np.int64)


def _rare_classes(labels: Labels | None, folds: int) -> tuple[str, ...]:
    """What a reader must know of classes that are not in every fold."""
    counts = Counter(labels or ())
    rare = [label for label, count in counts.items() if count < folds]
    if not rare:
        return ()
    if len(rare) == len(counts):  # numbers to predict, perhaps
        return (f"no class has {folds} examples, so the folds cannot keep the class shares",)
    shown = ", ".join(map(str, rare[:MOST_NAMES])) + (", ..." if len(rare) > MOST_NAMES else "")
    note = (
        f"{len(rare)} of {len(counts)} classes have fewer examples than there are folds "
        f"({shown}), so some folds lack them"
    )
    return (note,)


def _digest(folds: Sequence[Fold]) -> str:
    digest = hashlib.sha256()
    for fold in folds:
        digest.update(f"{fold.repeat} {fold.fold} {fold.seed} ".encode())
        digest.update(fold.train_idx.tobytes() + b"|" + fold.test_idx.tobytes())
    return digest.hexdigest()[:16]
