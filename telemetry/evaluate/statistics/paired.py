"""Two models on the same examples: exact tests, their correction for number, intervals."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from telemetry.compare.statistics.student import t_cdf, t_quantile
from telemetry.evaluate.statistics.exact import log_choose, sign_test_log_p

Floats = npt.NDArray[np.float64]

CONFIDENCE = 0.95
RESAMPLES = 10_000
SEED = 20260102  # fixed: the same question gives the same answer
MAX_DISTINCT = 64  # values that are resampled by their counts
MAX_DRAWS = 20_000_000  # of a bootstrap; beyond, means of so many values are normal
EXACT_SIGNED_RANKS = 50  # pairs up to which all signs are enumerated
MIN_SEEDS = 3
DEFAULT_Q = 0.05  # share of false finds
DISCORDANT_SHARE = 0.05  # of answers, assumed before there is another model to compare with


def mcnemar_p(n_base_only: int, n_cand_only: int, *, mid_p: bool = False) -> float:
    """Exact two-sided p-value of "both models are right equally often".

    Args:
        n_base_only: Examples that the base alone answers right.
        n_cand_only: Examples that the candidate alone answers right.
        mid_p: Count the observed table half: less conservative, level no longer guaranteed.

    Source: McNemar, Psychometrika 1947; mid-p: Fagerland, Lydersen and Laake 2013.
    """
    n, least = n_base_only + n_cand_only, min(n_base_only, n_cand_only)
    if n == 0:
        return 1.0
    p = 2 * math.exp(sign_test_log_p(least, n - least))
    if mid_p:
        p -= math.exp(log_choose(n, least) - n * math.log(2))
    return min(1.0, p)


def discordant_needed(limit: float) -> int:
    """Fewest examples answered otherwise, all in one direction, whose exact p is below a limit."""
    return max(1, math.ceil(1 - math.log2(limit)))


def detectable_excess(n_discordant: int, limit: float) -> int:
    """Smallest excess of one direction that an exact test at `limit` would see.

    Args:
        n_discordant: Examples that the two models answer otherwise; more are assumed where even
            all of them would not do.
        limit: Level of the test.
    """
    n = max(n_discordant, discordant_needed(limit))
    low, high = 0, n // 2  # of those against: the largest number that is still significant
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if mcnemar_p(n - middle, middle) <= limit else (low, middle - 1)
    return n - 2 * low


def foreseeable_drop(n: int, limit: float) -> float:
    """Smallest difference of two shares that an exact test could see, if 5 % of the answers differ.

    Args:
        n: Pairs, at least 1.
        limit: Level of the test.

    Returns:
        NaN where so few examples cannot show even that all answers turned wrong.
    """
    drop = detectable_excess(round(DISCORDANT_SHARE * n), limit) / n
    return drop if drop <= 1 else math.nan


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number so that a share of the found is false, in given order.

    Source: Benjamini and Hochberg, Journal of the Royal Statistical Society B 1995.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i], reverse=True)
    corrected = [1.0] * len(p_values)
    running = 1.0
    for place, i in enumerate(order):
        running = min(running, p_values[i] * len(p_values) / (len(p_values) - place))
        corrected[i] = running
    return corrected


def wilcoxon_p(differences: Floats) -> float:
    """Two-sided p-value of the signed ranks of paired differences, zeros left out.

    Exact up to 50 pairs, ties included; above, the normal approximation with tie correction.

    Args:
        differences: Shape (n,), finite.

    Source: Wilcoxon, Biometrics Bulletin 1945.
    """
    values = differences[differences != 0]
    if not values.size:
        return 1.0
    doubled = np.round(2 * ranks(np.abs(values))).astype(np.int64)  # whole numbers also in ties
    positive = int(doubled[values > 0].sum())
    total = int(doubled.sum())
    if values.size <= EXACT_SIGNED_RANKS:
        return _exact_signed_ranks(doubled, min(positive, total - positive))
    spread = math.sqrt(float((doubled.astype(np.float64) ** 2).sum()) / 4)
    return math.erfc(abs(positive - total / 2) / spread / math.sqrt(2))


def ranks(values: Floats) -> Floats:
    """Ranks from 1, equal values sharing their mean rank; shape (n,)."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared = last - (counts - 1) / 2
    return np.asarray(shared[place.reshape(values.shape)], dtype=np.float64)


def bootstrap_interval(
    values: Floats, clusters: Sequence[str] | None = None, *, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """95 % percentile interval of a mean over resampled examples.

    Args:
        values: One difference an example, shape (n,), finite, at least one.
        clusters: Original of each example: those of one original are drawn together.
        resamples: Number of resamples.

    Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13.
    """
    sums, sizes = _clustered(values, clusters)
    pairs, counts = np.unique(np.stack([sums, sizes], axis=1), axis=0, return_counts=True)
    generator = np.random.default_rng(SEED)
    if len(pairs) <= MAX_DISTINCT:
        drawn = generator.multinomial(len(sums), counts / len(sums), size=resamples)
        means = (drawn @ pairs[:, 0]) / (drawn @ pairs[:, 1])
    elif resamples * len(sums) <= MAX_DRAWS:
        means = np.empty(resamples)
        for place in range(resamples):
            picked = generator.integers(0, len(sums), len(sums))
            means[place] = sums[picked].sum() / sizes[picked].sum()
    else:
        mean = float(sums.sum() / sizes.sum())
        error = math.sqrt(float(((sums - mean * sizes) ** 2).sum())) / float(sizes.sum())
        half = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * error
        return mean - half, mean + half
    low, high = np.quantile(means, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    return float(low), float(high)


def seed_p(delta: float, seed_sd: float, n_seeds: int) -> float:
    """Whether a difference is larger than that of two seeds of the base recipe.

    Args:
        delta: Candidate less base.
        seed_sd: Standard deviation of the metric over seeds, see `seed_spread`.
        n_seeds: Seeds behind it, at least 2.
    """
    if seed_sd == 0:
        return float(delta == 0)
    return 2 * t_cdf(-abs(delta) / (seed_sd * math.sqrt(2)), n_seeds - 1)


def seed_spread(values: Floats, resolution: float) -> float:
    """Standard deviation over seeds, at least half the resolution of the metric.

    Args:
        values: The metric of each seed, shape (n,), at least 2.
        resolution: Change of the metric by one example; equal seeds do not prove that seeds do
            not matter.
    """
    return max(float(np.std(values, ddof=1)), resolution / 2)


def seed_detectable(seed_sd: float, n_seeds: int, limit: float) -> float:
    """Smallest difference whose `seed_p` is below a limit."""
    return t_quantile(1 - limit / 2, n_seeds - 1) * seed_sd * math.sqrt(2)


def _exact_signed_ranks(doubled: npt.NDArray[np.int64], least: int) -> float:
    """Share of all signs whose smaller sum of ranks is at most `least`, both sides."""
    ways = [1] + [0] * least
    for rank in sorted(map(int, doubled)):
        for total in range(least, rank - 1, -1):
            ways[total] += ways[total - rank]
    return min(1.0, 2 * sum(ways) / 2.0**doubled.size)


def _clustered(values: Floats, clusters: Sequence[str] | None) -> tuple[Floats, Floats]:
    """Sum and size of each cluster."""
    if clusters is None:
        return values, np.ones(len(values))
    _, place = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    sums = np.bincount(place.ravel(), weights=values)
    return sums.astype(np.float64), np.bincount(place.ravel()).astype(np.float64)
