"""Combinations of values that test examples have and training examples lack. Pure functions.

A hole is a range of one column, or of two together, that is rarer in training than in the test set
by more than chance, and, of two, rarer than either of its columns makes it: among the examples of
the one range, too few are in the other. Every range of bins of every pair is counted, and a
p-value must survive as many tests: whether a range is one is decided without looking at answers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from telemetry.evaluate.statistics.exact import hypergeometric_log_p
from telemetry.explain.training_gaps.compared_columns import (
    LEAST_ROWS,
    ComparedColumn,
    Flags,
    Floats,
    Range,
)

ALPHA = 0.01  # allowed chance of any hole between two samples of one distribution
THINNED = 4  # times rarer in training than in the test set
MOST_HOLES = 5
SAME = 0.8  # of the test examples of two ranges, from which the column named first stands for both
MOST_COLUMNS = 40  # whose pairs are counted; more columns are paired with the label alone


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Hole:
    """A range that training hardly has.

    Attributes:
        parts: One column, or two, each with its range.
        train_n: Training examples in it.
        outside: Which test examples are in it.
        log_p: Of "as frequent in training", corrected for the number of tests.
    """

    parts: tuple[tuple[ComparedColumn, Range], ...]
    train_n: int
    outside: Flags
    log_p: float

    @property
    def title(self) -> str:
        """The hole in words."""
        return " and ".join(column.title(found) for column, found in self.parts)

    @property
    def where(self) -> str | None:
        """The hole as a condition; None where it cannot be said in columns of `example_evals`."""
        told = [column.where(found) for column, found in self.parts]
        known = [text for text in told if text is not None]
        return " AND ".join(known) if len(known) == len(told) else None

    @property
    def sentence(self) -> str:
        """What was counted."""
        n_test, n_train = len(self.outside), len(self.parts[0][0].train)
        n_inside = int(self.outside.sum())
        expected = n_train * n_inside / n_test
        return (
            f"{self.train_n:,} of {n_train:,} training examples have {self.title}, where about "
            f"{expected:,.0f} would be expected; {n_inside:,} of {n_test:,} test examples do"
        )


def pairs_of(
    columns: Sequence[ComparedColumn], label: str | None
) -> list[tuple[ComparedColumn, ...]]:
    """Every column, then every two; of more than 40 columns those with the label."""
    usable = [column for column in columns if column.makes_groups]
    first = usable[:MOST_COLUMNS]
    paired = [
        pair
        for pair in combinations(usable, 2)
        if label in {column.name for column in pair} or all(column in first for column in pair)
    ]
    return [*((column,) for column in usable), *paired]


def holes(
    columns: Sequence[tuple[ComparedColumn, ...]], explained: Flags, *, asked: int
) -> list[Hole]:
    """What training lacks, the surest first; a test example counts for one hole only.

    Args:
        columns: Single ones, and pairs of them, of `pairs_of`.
        explained: Test examples that are known to lie outside training, shape (n_test,).
        asked: How many single ones and pairs are looked at in all.
    """
    found: list[Hole] = []
    open_rows = ~explained
    for _ in range(MOST_HOLES):
        best = _surest(columns, open_rows, asked)
        if best is None:
            break
        found.append(best)
        open_rows = open_rows & ~best.outside
    return found


def _surest(
    candidates: Sequence[tuple[ComparedColumn, ...]], open_rows: Flags, asked: int
) -> Hole | None:
    limit = math.log(ALPHA) - math.log(asked)
    ranked = (_best_of(columns, open_rows) for columns in candidates)
    found = [one for one in ranked if one[0] <= limit]
    if not found:
        return None
    surest = min(found, key=lambda one: one[0])
    known = next(one for one in found if _is_same(one[1], surest[1]))  # dark, not of much noise
    parts = _sharpened(known[1], open_rows)
    train, test = _members(parts)
    log_p = known[0] + math.log(asked)
    return Hole(parts=parts, train_n=int(train.sum()), outside=test, log_p=log_p)


def _is_same(
    first: Sequence[tuple[ComparedColumn, Range]], second: Sequence[tuple[ComparedColumn, Range]]
) -> bool:
    """Whether nearly the same test examples are in two ranges, by no more columns."""
    (_, a), (_, b) = _members(first), _members(second)
    return len(first) <= len(second) and int((a & b).sum()) >= SAME * int((a | b).sum())


def _best_of(
    columns: tuple[ComparedColumn, ...], open_rows: Flags
) -> tuple[float, tuple[tuple[ComparedColumn, Range], ...]]:
    """The surest range of a column or a pair; log p corrected for the number of its ranges."""
    train, test = _counts(columns, np.ones(len(columns[0].train), dtype=np.bool_), open_rows)
    logs = log_bounds(train, test)
    place = np.unravel_index(int(np.argmin(logs)), logs.shape)
    parts = tuple(
        (column, column.range_of(column.spans[int(n)]))
        for column, n in zip(columns, place, strict=False)
    )
    exact = _log_p(parts, open_rows) if logs[place] < 0 else 0.0
    return exact + math.log(logs.size), parts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Counts:
    """Examples of one set: in each range, in each of the ranges that make it, and in all."""

    cell: Floats
    margins: tuple[Floats, ...]
    total: float


def _counts(
    columns: tuple[ComparedColumn, ...], train: Flags, test: Flags
) -> tuple[Counts, Counts]:
    return _counted(columns, 0, train), _counted(columns, 1, test)


def _counted(columns: tuple[ComparedColumn, ...], side: int, rows: Flags) -> Counts:
    codes = [column.codes[side] for column in columns]
    known = rows & np.all([code >= 0 for code in codes], axis=0)
    shape = tuple(column.n_bins for column in columns)
    flat = np.ravel_multi_index(tuple(code[known] for code in codes), shape)
    table = np.bincount(flat, minlength=math.prod(shape)).reshape(shape).astype(np.float64)
    if len(columns) == 1:
        cell = columns[0].members @ table
        return Counts(cell=cell, margins=(), total=float(table.sum()))
    first, second = (column.members.astype(np.float64) for column in columns)
    cell = first @ table @ second.T
    margins = ((first @ table.sum(1))[:, None], (second @ table.sum(0))[None, :])
    return Counts(cell=cell, margins=margins, total=float(table.sum()))


def log_bounds(train: Counts, test: Counts) -> Floats:
    """Upper bounds of log p of each range; 0 where training is not several times rarer.

    Source: Hoeffding, Journal of the American Statistical Association 1963, theorems 1 and 4.
    """
    logs = _tail(train.cell, test.cell, train.total, test.total)
    for of_train, of_test in zip(train.margins, test.margins, strict=True):
        logs = np.maximum(logs, _tail(train.cell, test.cell, of_train, of_test))
    is_thin = train.cell * test.total * THINNED <= test.cell * train.total
    return np.where(is_thin & (test.cell >= LEAST_ROWS), logs, 0.0)


def _tail(
    n_train: Floats, n_test: Floats, all_train: Floats | float, all_test: Floats | float
) -> Floats:
    """Log of a bound on P(so few of them are training), of those in a range."""
    both = n_train + n_test
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.asarray(all_train / (all_train + all_test))
        seen = n_train / both
        first = np.where(n_train > 0, n_train * np.log(seen / share), 0.0)
        second = np.where(n_test > 0, n_test * np.log((1 - seen) / (1 - share)), 0.0)
        logs = np.where(seen < share, -(first + second), 0.0)
    return np.asarray(np.nan_to_num(logs, nan=0.0, posinf=0.0, neginf=0.0), dtype=np.float64)


def _members(parts: Sequence[tuple[ComparedColumn, Range]]) -> tuple[Flags, Flags]:
    sides = [column.inside(found) for column, found in parts]
    return (
        np.asarray(np.all([train for train, _ in sides], axis=0), dtype=np.bool_),
        np.asarray(np.all([test for _, test in sides], axis=0), dtype=np.bool_),
    )


def _log_p(parts: Sequence[tuple[ComparedColumn, Range]], open_rows: Flags) -> float:
    """Log p that so few are training: of all examples, and of those of each of two ranges."""
    train, test = _members(parts)
    within = [(np.ones_like(train), np.ones_like(test))]
    if len(parts) > 1:
        within += [column.inside(found) for column, found in parts]
    n_test = int((test & open_rows).sum())
    n_inside = int(train.sum()) + n_test
    logs = []
    for of_train, of_test in within:
        n_all_test = int((of_test & open_rows).sum())
        total = int(of_train.sum()) + n_all_test
        logs.append(hypergeometric_log_p(n_test, drawn=n_inside, marked=n_all_test, total=total))
    return max(logs)


def _sharpened(
    parts: tuple[tuple[ComparedColumn, Range], ...], open_rows: Flags
) -> tuple[tuple[ComparedColumn, Range], ...]:
    """The same hole with edges between values, not between bins, in numbers as short as may be."""
    found = list(parts)
    for place, (column, _) in enumerate(parts):
        if column.levels:
            continue
        for end in ("low", "high"):
            edge = getattr(found[place][1], end)
            if math.isfinite(edge):
                found[place] = (column, _best_edge(found, place, end, open_rows))
    return tuple(found)


def _best_edge(
    parts: Sequence[tuple[ComparedColumn, Range]], place: int, end: str, open_rows: Flags
) -> Range:
    column, own = parts[place]

    def moved(edge: float) -> Range:
        if end == "low":
            return Range(low=edge, high=own.high)
        return Range(low=own.low, high=edge)

    def log_p(edge: float) -> float:
        trial = [*parts[:place], (column, moved(edge)), *parts[place + 1 :]]
        return _log_p(trial, open_rows)

    before = own.low if end == "low" else own.high
    trials = [before, *column.trials(before).tolist()]
    usable = [edge for edge in trials if moved(edge).low < moved(edge).high]
    return moved(column.rounded(min(usable, key=log_p)))
