"""How an attribute is spread over a training set and a test set, in the same bins."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

BINS = 64
ENDS = (0.001, 0.999)  # quantiles of each set: one stray value does not put the rest in one bin


@dataclass(frozen=True, slots=True, kw_only=True)
class Histogram:
    """Counts of two sets in 64 bins of equal width.

    Attributes:
        low: Lower end of the first bin, which counts what lies below, too.
        high: Upper end of the last bin, which counts what lies above, too.
        train: Training examples of each bin.
        test: Test examples of each bin.
    """

    low: float
    high: float
    train: tuple[int, ...]
    test: tuple[int, ...]


def histogram_of(train: Floats, test: Floats) -> Histogram | None:
    """The usual values of both sets in bins; None where there is one value, or the span overflows.

    Args:
        train: Values, finite, at least one.
        test: The same.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        lows, highs = zip(*(np.quantile(values, ENDS) for values in (train, test)), strict=True)
    low, high = float(min(lows)), float(max(highs))
    if low == high:  # strays apart from one value
        both = np.concatenate([train, test])
        low, high = float(both.min()), float(both.max())
    if low == high or not math.isfinite(high - low):
        return None
    counts = [
        np.histogram(np.clip(values, low, high), BINS, (low, high))[0] for values in (train, test)
    ]
    return Histogram(
        low=low, high=high, train=tuple(counts[0].tolist()), test=tuple(counts[1].tolist())
    )
