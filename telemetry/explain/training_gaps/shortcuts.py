"""Signs that say the label in training, and not in the test set: what a model learns in its stead.

A sign is a range of a column, a phrase of a text, or a range of the colour at a place of an image.
Of a class it tells the share of its examples that have the sign, less the share of the others that
do: Youden's index, which does not depend on how frequent classes are. Answers of the model are not
looked at.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.evaluate.statistics.exact import hypergeometric_log_p
from telemetry.explain.training_gaps.compared_columns import (
    LEAST_ROWS,
    ComparedColumn,
    Flags,
    Floats,
)

LEAST_TOLD = 0.3  # of a class in training
SAYS = 2  # times as frequent in the class as elsewhere
LOST = 0.5  # of what it tells in training, that it may at most tell in the test set
ALPHA = 0.01  # allowed chance of any, between two samples of one distribution
SAME = 0.5  # correlation of two signs in training, from which one stands for the other
MOST = 3  # signs that are lost; where more are, the sets differ in general
THINNED = 4  # times rarer in training, from which examples that contradict a sign are a gap


@dataclass(frozen=True, kw_only=True, eq=False)
class Sign:
    """What some examples have.

    Attributes:
        title: In words.
        train: Which training examples have it.
        test: Which test examples have it.
        where: As a condition over `example_evals`; None: it cannot be said so.
        n_tried: Signs of which this one was chosen.
    """

    title: str
    train: Flags
    test: Flags
    where: str | None = None
    n_tried: int = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shortcut:
    """A sign that says a class in training.

    Attributes:
        sign: What it is.
        label: The class.
        train: Share of the class that has it, and of the others, in training.
        test: The same in the test set.
        outside: Test examples that contradict it, as hardly any of training does.
        is_both: Whether the class without the sign contradicts it, too.
        log_p: Of "it says as much in the test set", corrected for the number of tests.
    """

    sign: Sign
    label: str
    train: tuple[float, float]
    test: tuple[float, float]
    outside: Flags
    is_both: bool
    log_p: float

    @property
    def lost(self) -> float:
        """How much less it tells in the test set."""
        return (self.train[0] - self.train[1]) - (self.test[0] - self.test[1])

    @property
    def title(self) -> str:
        """Sign and class."""
        return f"{self.sign.title} says {self.label} in training alone"

    @property
    def where(self) -> str | None:
        """Contradicting examples as a condition over `example_evals`."""
        if self.sign.where is None:
            return None
        name = "'" + self.label.replace("'", "''") + "'"
        has = f"({self.sign.where})"
        contradicts = f"{has} AND label <> {name}"
        return f"({contradicts}) OR (NOT {has} AND label = {name})" if self.is_both else contradicts

    @property
    def sentence(self) -> str:
        """What it says where."""
        shares = [f"{100 * share:.0f} %" for share in (*self.train, *self.test)]
        return (
            f"in training {self.sign.title} says {self.label} ({shares[0]} of {self.label} and "
            f"{shares[1]} of the others have it), in the test set it does not ({shares[2]} and "
            f"{shares[3]}): did the model learn it instead?"
        )


def shortcuts(
    columns: Sequence[ComparedColumn], signs: Sequence[Sign], label: ComparedColumn
) -> list[Shortcut]:
    """Signs that say a class in training alone, what tells most first; none of general change.

    Args:
        columns: Every range of them is a sign.
        signs: Others.
        label: Of both sets.
    """
    kinds = [column for column in columns if column.makes_groups]
    tried = [*(len(column.spans) for column in kinds), *(sign.n_tried for sign in signs)]
    n_tests = len(label.levels) * sum(tried)
    if len(label.levels) < 2 or not n_tests:  # noqa: PLR2004 - two classes
        return []
    limit = math.log(ALPHA / n_tests)
    candidates = [sign for column in kinds for sign in best_ranges(column, label)]
    told = [
        found
        for sign in (*candidates, *signs)
        for found in _told(sign, label)
        if found.log_p <= limit
    ]
    kept: list[Shortcut] = []
    for found in sorted(told, key=lambda found: -found.lost):  # equal ones in their order
        if all(abs(_correlation(found.sign, other.sign)) < SAME for other in kept):
            kept.append(found)
    return kept if len(kept) <= MOST else []


def best_ranges(
    column: ComparedColumn, label: ComparedColumn, levels: Sequence[int] | None = None
) -> Iterator[Sign]:
    """Of each class the range that tells most of it in training alone; of most columns none.

    Args:
        column: Whose ranges are tried.
        label: Of both sets.
        levels: Classes, by their places; None: all.
    """
    if not column.makes_groups:
        return
    sides = [_youden(column, label, side) for side in (0, 1)]
    told = np.where(_is_lost(*sides), sides[0] - sides[1], -np.inf)
    for level in range(told.shape[1]) if levels is None else levels:
        place = int(told[:, level].argmax())
        if math.isfinite(told[place, level]):
            chosen = column.range_of(column.spans[place])
            train, test = column.inside(chosen)
            yield Sign(
                title=column.title(chosen), train=train, test=test, where=column.where(chosen)
            )


def _youden(column: ComparedColumn, label: ComparedColumn, side: int) -> Floats:
    """Of each range and class, shape (n_ranges, n_levels)."""
    codes, truth = column.codes[side], label.codes[side]
    known = (codes >= 0) & (truth >= 0)
    table = np.zeros((column.n_bins, len(label.levels)))
    np.add.at(table, (codes[known], truth[known]), 1)
    inside = column.members.astype(np.float64) @ table
    of_class = np.bincount(truth[truth >= 0], minlength=table.shape[1]).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        own = inside / of_class
        rest = (inside.sum(1, keepdims=True) - inside) / (of_class.sum() - of_class)
    return np.asarray(np.nan_to_num(own - rest), dtype=np.float64)


def _is_lost(train: Floats, test: Floats) -> Flags:
    return np.asarray((train >= LEAST_TOLD) & (test <= LOST * train), dtype=np.bool_)


def _told(sign: Sign, label: ComparedColumn) -> Iterator[Shortcut]:
    """Classes that a sign tells in training alone."""
    for place, level in enumerate(label.levels):
        is_class = [truth == place for truth in label.codes]
        if not all(flags.any() and not flags.all() for flags in is_class):
            continue
        train, test = (
            (float(has[own].mean()), float(has[~own].mean()))
            for has, own in zip((sign.train, sign.test), is_class, strict=True)
        )
        is_lost = _is_lost(np.array(train[0] - train[1]), np.array(test[0] - test[1]))
        if train[0] < SAYS * train[1] or not is_lost:
            continue
        against = sign.test & ~is_class[1]
        if int(against.sum()) < LEAST_ROWS:
            continue
        lacks = _thinned(~sign.train & is_class[0], ~sign.test & is_class[1])
        yield Shortcut(
            sign=sign,
            label=level,
            train=train,
            test=test,
            outside=against | (~sign.test & is_class[1]) if lacks else against,
            is_both=lacks,
            log_p=_log_p(sign, is_class[0], is_class[1]),
        )


def _log_p(sign: Sign, train: Flags, test: Flags) -> float:
    """Log p that of those with the sign so many test examples are of another class."""
    n_test = int((sign.test & ~test).sum())
    n_train = int((sign.train & ~train).sum())
    drawn = int(sign.test.sum())
    total = drawn + int(sign.train.sum())
    return hypergeometric_log_p(n_test, drawn=drawn, marked=n_test + n_train, total=total)


def _thinned(train: Flags, test: Flags) -> bool:
    return bool(test.any()) and float(train.mean()) * THINNED <= float(test.mean())


def _correlation(first: Sign, second: Sign) -> float:
    """Of two signs in training; 1 where one is always or never there."""
    a, b = first.train.astype(np.float64), second.train.astype(np.float64)
    spread = float(a.std() * b.std())
    return 1.0 if spread == 0 else float(((a - a.mean()) * (b - b.mean())).mean()) / spread
