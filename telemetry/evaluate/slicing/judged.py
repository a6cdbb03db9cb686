"""What is judged about examples, and whether a group of them is worse than the rest.

Each has a one-sided test that sees a group through its size and a few sums, so that thousands of
groups cost one pass over the examples each column.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from telemetry.evaluate.statistics.exact import hypergeometric_log_p, sign_test_log_p
from telemetry.evaluate.statistics.paired import CONFIDENCE, SEED, ranks

Floats = npt.NDArray[np.float64]

LEAST_RATIO = 1.25  # of a group to the rest; less is not worth a name, however certain
INTERVAL_RESAMPLES = 1_000
MAX_RESAMPLED = 20_000  # values; means of more are normal
FAR_TAIL = 37.0  # standard deviations from which erfc is 0


class Judged(ABC):
    """Values of examples, larger is worse.

    Args:
        values: One number an example, shape (n,), finite.
    """

    def __init__(self, values: Floats) -> None:
        self.values = values
        self.totals = np.stack(self._columns(values), axis=1)

    @property
    def mean(self) -> float:
        """Mean of all."""
        return float(self.values.mean())

    def part(self, chosen: npt.NDArray[np.bool_]) -> "Judged":
        """The same of some of the examples."""
        return type(self)(self.values[chosen])

    def log_p(self, n: int, sums: Sequence[float]) -> float:
        """Log p-value of "these n examples are no worse than the others".

        Args:
            n: Size of the group.
            sums: Of the columns of `totals` over the group.
        """
        n_all = len(self.values)
        if n in {0, n_all}:
            return 0.0
        return self._log_p(n, sums, n_all)

    def mean_of(self, n: int, sums: Sequence[float]) -> float:
        """Mean of a group."""
        return sums[0] / n if n else math.nan

    def rest_of(self, n: int, sums: Sequence[float]) -> float:
        """Mean of all examples outside a group."""
        n_rest = len(self.values) - n
        return (float(self.values.sum()) - sums[0]) / n_rest if n_rest else math.nan

    def matters(self, value: float, rest: float) -> bool:
        """Whether the difference is large enough to be reported."""
        return value > 0 and value >= LEAST_RATIO * rest

    def interval(self, inside: npt.NDArray[np.bool_]) -> tuple[float, float]:
        """95 % interval of group less rest, both resampled."""
        generator = np.random.default_rng(SEED)
        drawn = _resampled_means(self.values[inside], generator) - _resampled_means(
            self.values[~inside], generator
        )
        low, high = np.quantile(drawn, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
        return float(low), float(high)

    @abstractmethod
    def _columns(self, values: Floats) -> list[Floats]:
        """What is summed over a group; the values first."""

    @abstractmethod
    def _log_p(self, n: int, sums: Sequence[float], n_all: int) -> float: ...


class Errors(Judged):
    """1 for a wrong answer, 0 for a right one; hypergeometric test."""

    def _columns(self, values: Floats) -> list[Floats]:
        return [values]

    def _log_p(self, n: int, sums: Sequence[float], n_all: int) -> float:
        n_wrong = round(float(self.values.sum()))
        if sums[0] * n_all <= n_wrong * n:
            return 0.0  # no worse than all: the exact tail is not worth its sum
        return hypergeometric_log_p(round(sums[0]), drawn=n, marked=n_wrong, total=n_all)


class Losses(Judged):
    """Losses; Mann-Whitney test by the normal approximation with ties.

    Source: Mann and Whitney, Annals of Mathematical Statistics 1947.
    """

    _rank_spread = 0.0

    def _columns(self, values: Floats) -> list[Floats]:
        shared = ranks(values)
        self._rank_spread = float(((shared - shared.mean()) ** 2).sum())
        return [values, shared]

    def _log_p(self, n: int, sums: Sequence[float], n_all: int) -> float:
        expected = n * (n_all + 1) / 2
        # Variance of a sum of n of the shared ranks drawn without replacement.
        variance = self._rank_spread * n * (n_all - n) / (n_all * (n_all - 1))
        if variance <= 0:
            return 0.0
        return _log_upper_tail((sums[1] - expected - 0.5) / math.sqrt(variance))


class Changes(Losses):
    """Candidate less base of each example: worse than before, and worse than elsewhere.

    A sign test asks the first, Mann-Whitney the second; both must reject.
    """

    def _columns(self, values: Floats) -> list[Floats]:
        signs = [(values > 0).astype(np.float64), (values < 0).astype(np.float64)]
        return [*super()._columns(values), *signs]

    def _log_p(self, n: int, sums: Sequence[float], n_all: int) -> float:
        worse_than_before = sign_test_log_p(round(sums[3]), round(sums[2]))
        return max(worse_than_before, super()._log_p(n, sums, n_all))

    def matters(self, value: float, rest: float) -> bool:
        """Worse than before, and more so than elsewhere."""
        return value > max(rest, 0.0)


def _log_upper_tail(z: float) -> float:
    """Log of P(Z >= z) of a standard normal."""
    if z > FAR_TAIL:
        return -z * z / 2 - math.log(z * math.sqrt(2 * math.pi))
    return math.log(max(math.erfc(z / math.sqrt(2)) / 2, 5e-324))


def _resampled_means(values: Floats, generator: np.random.Generator) -> Floats:
    """Means of resamples of the values, shape (INTERVAL_RESAMPLES,)."""
    n = len(values)
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) <= 3:  # noqa: PLR2004 - right and wrong, or changes of them
        drawn = generator.multinomial(n, counts / n, size=INTERVAL_RESAMPLES)
        return np.asarray(drawn @ distinct / n, dtype=np.float64)
    if n <= MAX_RESAMPLED:
        means = [values[generator.integers(0, n, n)].mean() for _ in range(INTERVAL_RESAMPLES)]
        return np.array(means, dtype=np.float64)
    law = NormalDist(float(values.mean()), float(values.std()) / math.sqrt(n))
    return np.array([law.inv_cdf(u) for u in generator.random(INTERVAL_RESAMPLES)])
