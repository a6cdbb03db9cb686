"""What a parameter does to the metric: typical value per bin, and the region of the best ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from telemetry.compare.curves.align import median_of
from telemetry.compare.settings.number_texts import number_text, range_text
from telemetry.compare.sweep.importance import mean_ranks
from telemetry.compare.sweep.parameters import NOT_SET, Varied
from telemetry.compare.sweep.result import CurvePoint

Floats = npt.NDArray[np.float64]

AS_GOOD = 0.1  # of all runs: bins whose mean rank is that near to the best belong to its region
SAME_ORDER = 0.8  # rank correlation from which two parameters vary together
FEWEST_FOR_PAIRS = 6  # runs
TAIL = 0.025  # of a 95 % interval


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """The best bins of a parameter: ranges `first` to `last`, or `labels` when `first` is None."""

    first: int | None
    last: int | None
    text: str
    labels: tuple[str, ...] = ()


def effect(parameter: Varied, values: Floats) -> tuple[CurvePoint, ...]:
    """The response curve: median metric per bin with an interval, low to high.

    Without the runs in which another parameter switches this one off.

    Args:
        parameter: The parameter over n runs.
        values: Metric of each run, shape (n,); not finite where the run diverged.
    """
    found: list[CurvePoint] = []
    for i, label in enumerate(parameter.labels):
        if parameter.condition and label == NOT_SET:
            continue
        inside = values[parameter.bins == i]
        finite = np.sort(inside[np.isfinite(inside)])
        low, high = median_interval(finite)
        found.append(
            CurvePoint(
                value=label,
                median=median_of(finite) if finite.size else math.nan,
                low=low,
                high=high,
                runs=int(inside.size),
                diverged=int(inside.size - finite.size),
            )
        )
    return tuple(found)


def median_interval(ordered: Floats) -> tuple[float, float]:
    """95 % interval of the median by order statistics; the range of fewer than six values.

    Source: the sign test turned around, Conover 1999, Practical Nonparametric Statistics, 3.2.
    """
    n = ordered.size
    if n == 0:
        return math.nan, math.nan
    chance, below = 0.0, 0  # that at most `below` of n values lie below the median
    while chance + math.comb(n, below) / 2**n <= TAIL:
        chance += math.comb(n, below) / 2**n
        below += 1
    left_out = max(below - 1, 0)
    return float(ordered[left_out]), float(ordered[n - 1 - left_out])


def best_region(parameter: Varied, ranks: Floats) -> Region:
    """The best bin and those beside it that are as good, as text such as `0.01 .. 0.1` or `>= 64`.

    Args:
        parameter: The parameter over n runs.
        ranks: Rank of each run's metric, shape (n,), 1 for the best.
    """
    mean = np.array([ranks[parameter.bins == i].mean() for i in range(len(parameter.labels))])
    good = mean <= mean.min() + AS_GOOD * ranks.size
    best, n_ranges = int(mean.argmin()), parameter.n_ranges
    if best >= n_ranges or parameter.numbers is None:
        labels = tuple(parameter.labels[i] for i in np.flatnonzero(good))
        return Region(first=None, last=None, text=", ".join(labels), labels=labels)
    first = last = best
    while first > 0 and good[first - 1]:
        first -= 1
    while last < n_ranges - 1 and good[last + 1]:
        last += 1
    inside = parameter.numbers[(parameter.bins >= first) & (parameter.bins <= last)]
    low, high = float(inside.min()), float(inside.max())
    text = range_text(low, high)
    if last == n_ranges - 1 and first > 0:
        text = f">= {number_text(low)}"
    elif first == 0 and last < n_ranges - 1:
        text = f"<= {number_text(high)}"
    return Region(first=first, last=last, text=text)


def inseparable(parameters: Sequence[Varied]) -> list[tuple[str, str]]:
    """Pairs of parameters that vary together, so that their effects cannot be told apart."""
    return [
        (left.name, right.name)
        for i, left in enumerate(parameters)
        for right in parameters[i + 1 :]
        if left.bins.size >= FEWEST_FOR_PAIRS and _together(left, right)
    ]


def _together(left: Varied, right: Varied) -> bool:
    """Whether one tells the other, apart from switching it on."""
    if left.condition.startswith(f"{right.name} =") or right.condition.startswith(f"{left.name} ="):
        return False
    if left.numbers is not None and right.numbers is not None:
        both = np.isfinite(left.numbers) & np.isfinite(right.numbers)
        if np.count_nonzero(both) >= FEWEST_FOR_PAIRS:
            ranks = [mean_ranks(left.numbers[both]), mean_ranks(right.numbers[both])]
            varies = all(np.ptp(values) > 0 for values in ranks)
            if varies and abs(float(np.corrcoef(ranks[0], ranks[1])[0, 1])) >= SAME_ORDER:
                return True
    pairs = {(int(a), int(b)) for a, b in zip(left.bins, right.bins, strict=True)}
    return len(pairs) == max(len(left.labels), len(right.labels))
