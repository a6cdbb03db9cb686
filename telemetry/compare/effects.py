"""What a parameter does to the metric: typical value per bin, and the region of the best ones."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from telemetry.compare.importance import mean_ranks
from telemetry.compare.parameters import Varied, number_text, range_text

Floats = npt.NDArray[np.float64]

AS_GOOD = 0.1  # of all runs: bins whose mean rank is that near to the best belong to its region
SAME_ORDER = 0.8  # rank correlation from which two parameters vary together
FEWEST_FOR_PAIRS = 6  # runs


def effect(parameter: Varied, values: Floats) -> tuple[tuple[str, float], ...]:
    """Median metric per bin, low to high; NaN where no run of the bin has a finite value.

    Args:
        parameter: The parameter over n runs.
        values: Metric of each run, shape (n,); not finite where the run diverged.
    """
    found: list[tuple[str, float]] = []
    for i, label in enumerate(parameter.labels):
        inside = values[(parameter.bins == i) & np.isfinite(values)]
        found.append((label, float(np.median(inside)) if inside.size else float("nan")))
    return tuple(found)


def best_region(parameter: Varied, ranks: Floats) -> str:
    """The best bin and those beside it that are as good, as text such as `0.01 .. 0.1` or `>= 64`.

    Args:
        parameter: The parameter over n runs.
        ranks: Rank of each run's metric, shape (n,), 1 for the best.
    """
    n_bins = len(parameter.labels)
    mean = np.array([ranks[parameter.bins == i].mean() for i in range(n_bins)])
    good = mean <= mean.min() + AS_GOOD * ranks.size
    if parameter.numbers is None:
        return ", ".join(parameter.labels[i] for i in np.flatnonzero(good))
    first = last = int(mean.argmin())
    while first > 0 and good[first - 1]:
        first -= 1
    while last < n_bins - 1 and good[last + 1]:
        last += 1
    inside = parameter.numbers[(parameter.bins >= first) & (parameter.bins <= last)]
    low, high = float(inside.min()), float(inside.max())
    if last == n_bins - 1 and first > 0:
        return f">= {number_text(low)}"
    if first == 0 and last < n_bins - 1:
        return f"<= {number_text(high)}"
    return range_text(low, high)


def inseparable(parameters: Sequence[Varied]) -> list[tuple[str, str]]:
    """Pairs of parameters that vary together, so that their effects cannot be told apart."""
    return [
        (left.name, right.name)
        for i, left in enumerate(parameters)
        for right in parameters[i + 1 :]
        if left.bins.size >= FEWEST_FOR_PAIRS and _together(left, right)
    ]


def _together(left: Varied, right: Varied) -> bool:
    if left.numbers is not None and right.numbers is not None:
        ranks = [mean_ranks(left.numbers), mean_ranks(right.numbers)]
        if abs(float(np.corrcoef(ranks[0], ranks[1])[0, 1])) >= SAME_ORDER:
            return True
    pairs = {(int(a), int(b)) for a, b in zip(left.bins, right.bins, strict=True)}
    return len(pairs) == max(len(left.labels), len(right.labels))
