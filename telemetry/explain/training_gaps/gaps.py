"""What a test set has and a training set lacks: attributes, neighbours, groups. Pure functions."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from telemetry.evaluate.statistics.exact import hypergeometric_log_p
from telemetry.evaluate.statistics.paired import benjamini_hochberg
from telemetry.explain.training_gaps.histograms import Histogram, histogram_of
from telemetry.explain.training_gaps.two_samples import kolmogorov_smirnov

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

RANGE = (0.001, 0.999)  # quantiles of training
Q = 0.05  # allowed share of false finds among shifted attributes
SHIFT = 0.2  # training standard deviations, below which a shift does not matter
OUTSIDE = 0.02  # share of the test set up to which chance explains what lies outside
LEAST_OUTSIDE = 5  # examples
FAR = 0.99  # quantile of the distances inside training
MOST_LEVELS = 100  # of a key of the metadata
FEW = 5  # training examples of a group, below which it is hardly covered
ERROR_P = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gap:
    """One way in which test examples were compared with training.

    Attributes:
        kind: `attribute`, `knn` or `cell`.
        attribute: Name of the attribute, or condition of the group; `knn` for neighbours.
        levels: Of the group, by column.
        train_low: Lowest usual value of training; None: there is no such end.
        train_high: Highest.
        train_n: Training examples.
        test_n: Test examples.
        outside: Which test examples are not covered, shape (test_n,).
        shift_sd: Difference of the means, in training standard deviations.
        p: Of "one distribution"; None: not tested.
        q: The same, corrected for the number of attributes.
        error_inside: Share of wrong answers among covered test examples; None: there are none.
        error_outside: The same among the others.
        error_p: Of "wrong no more often".
        histogram: Of attribute or distance, over both sets; None: of a group, or of one value.
        neighbours: Ids of the nearest training examples of the first uncovered ones.
        sentence: The comparison in words.
        reported: Whether it is a gap.
    """

    kind: str
    attribute: str
    levels: tuple[tuple[str, str], ...] = ()
    train_low: float | None = None
    train_high: float | None = None
    train_n: int
    test_n: int
    outside: Flags
    shift_sd: float | None = None
    p: float | None = None
    q: float | None = None
    error_inside: float | None = None
    error_outside: float | None = None
    error_p: float | None = None
    histogram: Histogram | None = None
    neighbours: tuple[tuple[str, ...], ...] = ()
    sentence: str
    reported: bool

    @property
    def outside_n(self) -> int:
        """Test examples that are not covered."""
        return int(self.outside.sum())

    @property
    def outside_share(self) -> float:
        """Their share."""
        return self.outside_n / self.test_n

    @property
    def is_finding(self) -> bool:
        """Whether the model is wrong more often where training does not cover."""
        return self.reported and self.error_p is not None and self.error_p <= ERROR_P


def attribute_gaps(train: Mapping[str, Floats], test: Mapping[str, Floats]) -> list[Gap]:
    """A gap an attribute, reported where the test set is shifted or lies outside.

    Args:
        train: Values by attribute, NaN where an example has none.
        test: The same.
    """
    found = [_attribute_gap(name, train[name], test[name]) for name in train]
    tested = [gap for gap in found if gap is not None]
    qs = benjamini_hochberg([gap.p or 0.0 for gap in tested])
    return [_judged(gap, q) for gap, q in zip(tested, qs, strict=True)]


def neighbour_gap(train_distances: Floats, test_distances: Floats) -> Gap:
    """Test examples that are farther from training than its examples are from each other."""
    limit = float(np.quantile(train_distances, FAR))
    outside = test_distances > limit
    share = float(outside.mean())
    return Gap(
        kind="knn",
        attribute="knn",
        train_high=limit,
        train_n=len(train_distances),
        test_n=len(test_distances),
        outside=outside,
        histogram=histogram_of(train_distances, test_distances),
        sentence=f"{_percent(share)} of the test examples are farther from training than "
        f"{100 * FAR:.0f} % of the training examples are from each other (distance {limit:.3g} "
        "in the model's representation)",
        reported=_is_much(outside),
    )


def identifying(rows: Sequence[Mapping[str, str]], label: str) -> list[str]:
    """Keys of so many levels that they tell examples apart and make no groups.

    Args:
        rows: Levels of each example by key.
        label: The key that is the label, which makes groups always.
    """
    levels: dict[str, set[str]] = {}
    for row in rows:
        for key, level in row.items():
            levels.setdefault(key, set()).add(level)
    return [key for key, seen in levels.items() if key != label and len(seen) > MOST_LEVELS]


def group_gaps(
    train: Sequence[Mapping[str, str]], test: Sequence[Mapping[str, str]], label: str
) -> list[Gap]:
    """Labels, levels of metadata, and pairs of both, that training hardly has.

    Args:
        train: Levels of each training example by key.
        test: The same.
        label: The key that is the label.
    """
    found: list[Gap] = []
    explained: set[tuple[tuple[str, str], ...]] = set()
    for group in _grouped_by(test, label):
        counts = Counter(_levels(row, group) for row in train)
        wanted = Counter(_levels(row, group) for row in test)
        for levels, n_test in sorted(wanted.items()):
            is_lacking = len(levels) == len(group) and counts[levels] < FEW
            if not is_lacking or any((level,) in explained for level in levels):
                continue
            explained.add(levels)
            found.append(_group_gap(levels, counts[levels], n_test, len(train), test, group))
    return found


def count_groups(test: Sequence[Mapping[str, str]], label: str) -> int:
    """How many groups of the test set `group_gaps` looks for in training."""
    return sum(
        len({levels for row in test if len(levels := _levels(row, group)) == len(group)})
        for group in _grouped_by(test, label)
    )


def with_errors(gap: Gap, wrong: Flags) -> Gap:
    """The gap with the share of wrong answers on either side, and whether it differs.

    Args:
        gap: Of the test set.
        wrong: Which test examples are answered wrongly, shape (test_n,).
    """
    inside = ~gap.outside
    n_outside, n_inside = gap.outside_n, int(inside.sum())
    both = n_outside > 0 and n_inside > 0
    log_p = hypergeometric_log_p(
        int(wrong[gap.outside].sum()), drawn=n_outside, marked=int(wrong.sum()), total=len(wrong)
    )
    return replace(
        gap,
        error_inside=float(wrong[inside].mean()) if n_inside else None,
        error_outside=float(wrong[gap.outside].mean()) if n_outside else None,
        error_p=math.exp(log_p) if both else None,
    )


def _attribute_gap(name: str, train: Floats, test: Floats) -> Gap | None:
    known, asked = train[np.isfinite(train)], test[np.isfinite(test)]
    if not known.size or not asked.size or known.min() == known.max() == asked.min() == asked.max():
        return None
    low, high = (float(value) for value in np.quantile(known, RANGE))
    _, p = kolmogorov_smirnov(known, asked)
    spread = float(known.std())
    shift = float(asked.mean() - known.mean())
    with np.errstate(invalid="ignore"):
        below, above = test < low, test > high
    return Gap(
        kind="attribute",
        attribute=name,
        train_low=low,
        train_high=high,
        train_n=len(known),
        test_n=len(test),
        outside=below | above,
        shift_sd=shift / spread if spread else math.copysign(math.inf, shift) if shift else 0.0,
        p=p,
        histogram=histogram_of(known, asked),
        sentence=_range_sentence(name, known, (low, high), below, above),
        reported=False,
    )


def _judged(gap: Gap, q: float) -> Gap:
    is_shifted = q <= Q and abs(gap.shift_sd or 0.0) >= SHIFT
    return replace(gap, q=q, reported=is_shifted or _is_much(gap.outside))


def _is_much(outside: Flags) -> bool:
    return int(outside.sum()) >= LEAST_OUTSIDE and float(outside.mean()) > OUTSIDE


def _range_sentence(
    name: str, train: Floats, ends: tuple[float, float], below: Flags, above: Flags
) -> str:
    low, high = ends
    is_above = above.sum() >= below.sum()
    bound, word = (high, "above") if is_above else (low, "below")
    n_train = int((train > high).sum() if is_above else (train < low).sum())
    share = float((above if is_above else below).mean())
    return (
        f"{n_train} of {len(train)} training examples have {name} {word} {bound:.4g}; "
        f"{_percent(share)} of the test examples do"
    )


def _grouped_by(test: Sequence[Mapping[str, str]], label: str) -> list[tuple[str, ...]]:
    """Keys one by one, then each together with the label."""
    keys = list(dict.fromkeys(key for row in test for key in row))
    pairs = [(key, label) for key in keys if key != label and label in keys]
    return [*((key,) for key in keys), *pairs]


def _levels(row: Mapping[str, str], keys: Sequence[str]) -> tuple[tuple[str, str], ...]:
    return tuple((key, row[key]) for key in keys if key in row)


def _group_gap(
    levels: tuple[tuple[str, str], ...],
    n_train: int,
    n_test: int,
    n_all: int,
    test: Sequence[Mapping[str, str]],
    keys: Sequence[str],
) -> Gap:
    title = " and ".join(f"{key} = {level}" for key, level in levels)
    return Gap(
        kind="cell",
        attribute=title,
        levels=levels,
        train_n=n_all,
        test_n=len(test),
        outside=np.array([_levels(row, keys) == levels for row in test], dtype=np.bool_),
        sentence=f"{n_train} of {n_all} training examples have {title}; {n_test} of {len(test)} "
        "test examples do",
        reported=True,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"  # noqa: PLR2004 - a digit more for small shares
