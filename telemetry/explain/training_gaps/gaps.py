"""What a test set has and a training set lacks: attributes, neighbours, groups. Pure functions."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from telemetry.evaluate.overview.gap_words import SHORTCUT
from telemetry.evaluate.statistics.exact import hypergeometric_log_p
from telemetry.evaluate.statistics.paired import benjamini_hochberg
from telemetry.explain.training_gaps.compared_columns import ComparedColumn, Range
from telemetry.explain.training_gaps.histograms import Histogram, histogram_of
from telemetry.explain.training_gaps.holes import Hole
from telemetry.explain.training_gaps.shortcuts import Shortcut
from telemetry.explain.training_gaps.two_samples import kolmogorov_smirnov

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

RANGE = (0.001, 0.999)  # quantiles of training
Q = 0.05  # allowed share of false finds among shifted attributes
SHIFT = 0.2  # training standard deviations, below which a shift does not matter
OUTSIDE = 0.02  # share of the test set up to which it does not matter that it lies outside
LEAST_OUTSIDE = 5  # examples
CHANCE = 0.01  # of so many outside any attribute, between two samples of one distribution
FAR = 0.99  # quantile of the distances inside training
ERROR_P = 0.01


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gap:
    """One way in which test examples were compared with training.

    Attributes:
        kind: `attribute`, `knn`, `cell` or `shortcut`; of what is wrong with the data themselves
            `twin`, `conflict`, `doubt` or `leak`, see `suspicions`.
        attribute: Name of the attribute, or the group in words; `knn` for neighbours.
        where: The group as a condition over `example_evals`; None: of others, and of groups that
            cannot be said so.
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
        ranked: Places of uncovered test examples, those to look at first; empty: as they come.
        histogram: Of attribute or distance, over both sets; None: of a group, or of one value.
        neighbours: Ids of the nearest training examples of the first uncovered ones.
        sentence: The comparison in words.
        reported: Whether it is a gap.
    """

    kind: str
    attribute: str
    where: str | None = None
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
    ranked: tuple[int, ...] = ()
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
    limit = math.log(CHANCE / max(len(tested), 1) / 2)  # two ends each
    sides = [(train[gap.attribute], test[gap.attribute]) for gap in tested]
    return [
        replace(gap, q=q, reported=_is_shifted(gap, q) or _is_much(gap, *side, limit))
        for gap, q, side in zip(tested, qs, sides, strict=True)
    ]


def neighbour_gap(train_distances: Floats, test_distances: Floats) -> Gap:
    """Test examples that are farther from training than its examples are from each other."""
    limit = float(np.quantile(train_distances, FAR))
    outside = test_distances > limit
    share = float(outside.mean())
    gap = Gap(
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
        reported=False,
    )
    is_much = _is_much(gap, train_distances, test_distances, math.log(CHANCE))
    return replace(gap, reported=is_much)


def missing_label(column: ComparedColumn) -> list[Gap]:
    """Classes that training lacks altogether, however few test examples have them."""
    found = []
    for level in column.levels:
        train, test = column.inside(Range(level=level))
        if test.any() and not train.any():
            hole = Hole(parts=((column, Range(level=level)),), train_n=0, outside=test, log_p=0.0)
            found.append(hole_gap(hole))
    return found


def hole_gap(hole: Hole) -> Gap:
    """A hole as a gap."""
    return Gap(
        kind="cell",
        attribute=hole.title,
        where=hole.where,
        train_n=len(hole.parts[0][0].train),
        test_n=len(hole.outside),
        outside=hole.outside,
        p=math.exp(hole.log_p) if len(hole.parts) > 1 or hole.log_p < 0 else None,
        sentence=hole.sentence,
        reported=True,
    )


def shortcut_gap(found: Shortcut) -> Gap:
    """What says a class in training alone, as a gap: the examples that contradict it."""
    return Gap(
        kind=SHORTCUT,
        attribute=found.title,
        where=found.where,
        train_n=len(found.sign.train),
        test_n=len(found.outside),
        outside=found.outside,
        p=math.exp(found.log_p),
        sentence=found.sentence,
        reported=True,
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


def _is_shifted(gap: Gap, q: float) -> bool:
    return q <= Q and abs(gap.shift_sd or 0.0) >= SHIFT


def _is_much(gap: Gap, train: Floats, test: Floats, limit: float) -> bool:
    """Whether more lies outside than matters, and than chance puts there.

    Args:
        gap: With its bounds.
        train: Values of training.
        test: Values of the test set.
        limit: Log p from which chance explains it.
    """
    if gap.outside_n < LEAST_OUTSIDE or gap.outside_share <= OUTSIDE:
        return False
    ends = [(train, test, gap.train_high)] if gap.train_high is not None else []
    if gap.train_low is not None:
        ends.append((-train, -test, -gap.train_low))
    return any(_beyond_log_p(*end) <= limit for end in ends)


def _beyond_log_p(train: Floats, test: Floats, bound: float) -> float:
    """Log of P(so many test values above a quantile of training), for two samples of one kind.

    The quantile is the r-th largest of training; k test values above it mean that of the r + k - 1
    largest of all at most r - 1 are training's.
    """
    with np.errstate(invalid="ignore"):
        n_train, n_test = int((train > bound).sum()), int((test > bound).sum())
    if n_test == 0:
        return 0.0
    all_train, all_test = int(np.isfinite(train).sum()), int(np.isfinite(test).sum())
    return hypergeometric_log_p(
        n_test, drawn=n_train + n_test, marked=all_test, total=all_train + all_test
    )


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


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if 0 < share < 0.1 else f"{100 * share:.0f} %"  # noqa: PLR2004 - a digit more for small shares
