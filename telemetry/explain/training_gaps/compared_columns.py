"""A column of two data sets in a few bins, and the ranges of it that a hole can have."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from telemetry.evaluate.slicing.levels import quoted_name

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Codes = npt.NDArray[np.int64]

MOST_BINS = 20  # of numbers, of equal shares of the test set: training has nothing in a hole
LEAST_BINS, IN_A_BIN = 4, 15  # of a small test set; test examples of a bin
MOST_VALUES = 20  # that are kept apart
MOST_LEVELS = 100  # of a category; more tell examples apart and make no groups
LEAST_ROWS = 5  # test examples of a range that is worth a name
EDGE_TRIALS = 64  # places where an edge is tried
IN_WORDS = {  # what people call the low and the high end of what is measured
    "brightness": ("dark", "bright"),
    "contrast": ("of low contrast", "of high contrast"),
    "sharpness": ("blurred", "sharp"),
    "saturation": ("pale", "colourful"),
    "length": ("short", "long"),
    "height": ("low", "tall"),
    "width": ("narrow", "wide"),
    "rare words": ("of common words", "of rare words"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Values from `low` on and below `high`, both of the column; or one level of a category."""

    low: float = -math.inf
    high: float = math.inf
    level: str | None = None


@dataclass(frozen=True, kw_only=True, eq=False)
class ComparedColumn:
    """Values of a column in both sets.

    Attributes:
        name: As the column is called.
        train: Numbers, NaN where an example has none; of a category places in `levels`, or NaN.
        test: The same.
        levels: Of a category; empty: the column holds numbers.
        column: In a condition over `example_evals`; None: it has no such column.
    """

    name: str
    train: Floats
    test: Floats
    levels: tuple[str, ...] = ()
    column: str | None = None

    @classmethod
    def of_texts(
        cls,
        name: str,
        train: Sequence[str | None],
        test: Sequence[str | None],
        column: str | None = None,
    ) -> "ComparedColumn":
        """A column of categories."""
        counts = Counter(text for text in (*train, *test) if text is not None)
        place = {level: float(n) for n, level in enumerate(sorted(counts))}
        codes = [
            np.array([math.nan if text is None else place[text] for text in side]).reshape(-1)
            for side in (train, test)
        ]
        return cls(name=name, train=codes[0], test=codes[1], levels=tuple(place), column=column)

    @property
    def makes_groups(self) -> bool:
        """Whether there is more than one value, and no category of as many as examples."""
        return len(self.levels) <= MOST_LEVELS and self.n_bins > 1

    @cached_property
    def edges(self) -> Floats:
        """Between the bins, ascending."""
        if self.levels:
            return np.arange(len(self.levels) - 1, dtype=np.float64) + 0.5
        both = np.concatenate([self.train, self.test])
        values = np.unique(both[np.isfinite(both)])
        if values.size <= MOST_VALUES:
            return np.asarray((values[1:] + values[:-1]) / 2, dtype=np.float64)
        asked = self.test[np.isfinite(self.test)]
        n_bins = max(LEAST_BINS, min(MOST_BINS, asked.size // IN_A_BIN))
        shares = np.linspace(0, 1, n_bins + 1)[1:-1]
        chosen = asked if asked.size else values
        return np.asarray(np.unique(np.quantile(chosen, shares, method="higher")), dtype=np.float64)

    @property
    def n_bins(self) -> int:
        """How many bins there are."""
        return len(self.edges) + 1

    @cached_property
    def codes(self) -> tuple[Codes, Codes]:
        """The bin of each training and each test example; -1: it has no value."""
        train, test = (
            np.where(np.isfinite(side), np.searchsorted(self.edges, side, side="right"), -1)
            for side in (self.train, self.test)
        )
        return train, test

    @cached_property
    def spans(self) -> tuple[tuple[int, int], ...]:
        """First and last bin of each range: every level, or every run of bins but the whole."""
        n = self.n_bins
        if self.levels:
            return tuple((place, place) for place in range(n))
        return tuple((a, b) for a in range(n) for b in range(a, n) if b - a < n - 1)

    @cached_property
    def members(self) -> npt.NDArray[np.float32]:
        """Which bins a range has, shape (n_ranges, n_bins)."""
        bins = np.arange(self.n_bins)
        return np.array([(bins >= a) & (bins <= b) for a, b in self.spans], dtype=np.float32)

    def range_of(self, span: tuple[int, int]) -> Range:
        """The values of some bins."""
        if self.levels:
            return Range(level=self.levels[span[0]])
        first, last = span
        low = float(self.edges[first - 1]) if first else -math.inf
        high = float(self.edges[last]) if last < len(self.edges) else math.inf
        return Range(low=low, high=high)

    def inside(self, found: Range) -> tuple[Flags, Flags]:
        """Which training and test examples are in a range."""
        if found.level is not None:
            place = float(self.levels.index(found.level))
            return self.train == place, self.test == place
        with np.errstate(invalid="ignore"):
            train, test = (
                (side >= found.low) & (side < found.high) for side in (self.train, self.test)
            )
        return train, test

    def trials(self, edge: float) -> Floats:
        """Where an edge could be instead: between the values of the bins on either side."""
        place = int(np.searchsorted(self.edges, edge))
        low = self.edges[place - 1] if place else -math.inf
        high = self.edges[place + 1] if place + 1 < len(self.edges) else math.inf
        both = np.concatenate([self.train, self.test])
        values = np.unique(both[(both >= low) & (both <= high)])
        middles = (values[1:] + values[:-1]) / 2
        step = max(1, math.ceil(len(middles) / EDGE_TRIALS))
        return np.asarray(middles[::step], dtype=np.float64)

    def rounded(self, edge: float) -> float:
        """The shortest number that parts the values as an edge does."""
        if not math.isfinite(edge):
            return edge
        both = np.concatenate([self.train, self.test])
        below, above = both[both < edge], both[both >= edge]
        if not below.size or not above.size:
            return edge
        low, high = float(below.max()), float(above.min())
        for digits in range(1, 17):
            number = float(f"{(low + high) / 2:.{digits}g}")
            if low < number <= high:
                return number
        return edge

    def title(self, found: Range) -> str:
        """A range in words."""
        if found.level is not None:
            return f"{self.name} = {found.level}"
        single = self._single(found)
        if single is not None:
            return f"{self.name} = {single:.6g}"
        words = IN_WORDS.get(self.name, ("", ""))
        if not math.isfinite(found.low):
            return _called(words[0], f"{self.name} below {found.high:.6g}")
        if not math.isfinite(found.high):
            return _called(words[1], f"{self.name} from {found.low:.6g}")
        return f"{self.name} from {found.low:.6g} to {found.high:.6g}"

    def where(self, found: Range) -> str | None:
        """A range as a condition; None where the column is not one of `example_evals`."""
        if self.column is None:
            return None
        name = quoted_name(self.column)
        if found.level is not None:
            return f"{name} = '" + found.level.replace("'", "''") + "'"
        low = f"{name} >= {found.low!r}" if math.isfinite(found.low) else ""
        high = f"{name} < {found.high!r}" if math.isfinite(found.high) else ""
        return " AND ".join(part for part in (low, high) if part)

    def _single(self, found: Range) -> float | None:
        """The one value of a range; None: it has more, or the column has many."""
        if self.edges.size >= MOST_VALUES:
            return None
        both = np.concatenate(
            [
                side[part]
                for side, part in zip((self.train, self.test), self.inside(found), strict=True)
            ]
        )
        values = np.unique(both)
        return float(values[0]) if values.size == 1 else None


def _called(word: str, condition: str) -> str:
    return f"{condition} ({word})" if word else condition
