"""Folds of a cross-validation: made once, the same for every configuration."""

import hashlib
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.errors import UsageError

MOST_NAMES = 3  # of rare classes

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
    """

    repeat: int
    fold: int
    seed: int
    train_idx: Indices
    test_idx: Indices

    @property
    def place(self) -> tuple[int, int]:
        """Repetition and fold."""
        return self.repeat, self.fold


@dataclass(frozen=True, slots=True, kw_only=True)
class Folds:
    """All folds; the digest tells whether two configurations had the same."""

    folds: tuple[Fold, ...]
    digest: str
    n_examples: int
    notes: tuple[str, ...] = ()


def make_folds(
    *,
    n: int | None = None,
    labels: Labels | None = None,
    groups: Labels | None = None,
    folds: int = 5,
    repeats: int = 2,
    seed: int = 0,
) -> Folds:
    """Folds that hold each class in its share (with labels) and split no group (with groups).

    Args:
        n: Examples there are; None: as many as labels or groups.
        labels: Class of each example.
        groups: Group of each, such as the patient a picture is of.
        folds: Folds a repetition, at least 2.
        repeats: Repetitions, each with folds of its own.
        seed: Decides on the folds, and is the seed of the first one.

    Raises:
        UsageError: the numbers do not fit each other, or there are too few examples or groups.
    """
    n_examples = _number_of(n, labels, groups)
    if folds < 2 or repeats < 1:  # noqa: PLR2004 - one part has no rest
        raise UsageError(f"folds={folds}, repeats={repeats}; at least 2 folds and 1 repetition.")
    if n_examples < folds:
        raise UsageError(f"{n_examples} examples make no {folds} folds; give more, or fewer folds.")
    _check_groups(groups, folds)
    found = tuple(
        Fold(
            repeat=repeat,
            fold=fold,
            seed=seed + repeat * folds + fold,
            train_idx=np.asarray(train, dtype=np.int64),
            test_idx=np.asarray(test, dtype=np.int64),
        )
        for repeat in range(repeats)
        for fold, (train, test) in enumerate(
            _parts(n_examples, labels, groups, folds, seed + repeat)
        )
    )
    return Folds(
        folds=found,
        digest=_digest(found),
        n_examples=n_examples,
        notes=_rare_classes(labels, folds),
    )


def _number_of(n: int | None, labels: Labels | None, groups: Labels | None) -> int:
    sizes = {
        "n": n,
        "labels": None if labels is None else len(labels),
        "groups": None if groups is None else len(groups),
    }
    known = {name: size for name, size in sizes.items() if size is not None}
    if not known:
        raise UsageError("how many examples are there? Give n, or the labels of all of them.")
    if len(set(known.values())) > 1:
        told = ", ".join(f"{name} of {size}" for name, size in known.items())
        raise UsageError(f"{told}: one for each example, so they must be as many.")
    return next(iter(known.values()))


def _check_groups(groups: Labels | None, folds: int) -> None:
    if groups is not None and len(set(groups)) < folds:
        raise UsageError(
            f"{len(set(groups))} groups make no {folds} folds: a group is never split; give fewer "
            "folds."
        )


def _parts(
    n: int, labels: Labels | None, groups: Labels | None, folds: int, seed: int
) -> Iterator[tuple[Indices, Indices]]:
    """Train and test places of each fold, by scikit-learn."""
    try:
        from sklearn.model_selection import (  # noqa: PLC0415 - a second, needed by this verb alone
            KFold,
            StratifiedGroupKFold,
            StratifiedKFold,
        )
    except ImportError as error:
        raise UsageError(
            "folds need scikit-learn, not installed; pip install 'training-telemetry[explain]'"
        ) from error

    options = {"n_splits": folds, "shuffle": True, "random_state": seed % 2**32}
    places = np.arange(n)
    # Classes of which none could be in every fold, such as numbers to predict, are not kept apart.
    is_common = labels is not None and max(Counter(labels).values()) >= folds
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
    shown = ", ".join(map(str, rare[:MOST_NAMES])) + (", ..." if len(rare) > MOST_NAMES else "")
    note = (
        f"{len(rare)} of {len(counts)} classes have fewer examples than there are folds ({shown}): "
        "not every fold has them"
    )
    return (note,)


def _digest(folds: Sequence[Fold]) -> str:
    digest = hashlib.sha256()
    for fold in folds:
        digest.update(f"{fold.repeat} {fold.fold} {fold.seed} ".encode())
        digest.update(fold.train_idx.tobytes() + b"|" + fold.test_idx.tobytes())
    return digest.hexdigest()[:16]
