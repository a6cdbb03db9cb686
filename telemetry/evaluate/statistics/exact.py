"""Tails of discrete distributions, in logarithms: p-values of 1e-300 keep their order."""

import math
from collections.abc import Iterable, Iterator
from itertools import count

NEGLIGIBLE = 1e-17  # share of the sum at which the next terms of a tail no longer count


def log_choose(n: int, k: int) -> float:
    """Logarithm of the number of ways to choose k of n."""
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def sign_test_log_p(n_against: int, n_for: int) -> float:
    """Log of P(Bin(n_against + n_for, 1/2) <= n_against): so few against, if both were as likely.

    Args:
        n_against: Pairs that speak against the claim.
        n_for: Pairs that speak for it.
    """
    n = n_against + n_for
    if n_against > n_for:
        return math.log1p(-math.exp(sign_test_log_p(n_for - 1, n_against + 1))) if n_for else 0.0
    down = ((i / (n - i + 1)) for i in range(n_against, 0, -1))
    return min(0.0, log_choose(n, n_against) - n * math.log(2) + math.log(_series(down)))


def hypergeometric_log_p(n_hits: int, *, drawn: int, marked: int, total: int) -> float:
    """Log of P(X >= n_hits): so many marked among those drawn without looking.

    Args:
        n_hits: Marked ones among those drawn.
        drawn: How many were drawn.
        marked: How many are marked in all.
        total: How many there are.
    """
    least, most = max(0, drawn + marked - total), min(drawn, marked)
    if n_hits <= least:
        return 0.0
    if n_hits > most:
        return -math.inf
    if n_hits * (total + 2) <= (drawn + 1) * (marked + 1):  # below the mode: the other tail falls
        below = _hypergeometric_log(n_hits - 1, drawn, marked, total) + math.log(
            _series(_ratios_down(n_hits - 1, drawn, marked, total))
        )
        return math.log1p(-min(math.exp(below), 1.0 - NEGLIGIBLE)) if below < 0 else -math.inf
    first = _hypergeometric_log(n_hits, drawn, marked, total)
    return min(0.0, first + math.log(_series(_ratios_up(n_hits, drawn, marked, total))))


def fisher_p(a: int, b: int, c: int, d: int) -> float:
    """Two-sided p-value of the table [[a, b], [c, d]]: tables no more likely than this one.

    Source: Fisher, The Design of Experiments; the two-sided rule is that of R's `fisher.test`.
    """
    drawn, marked, total = a + b, a + c, a + b + c + d
    least, most = max(0, drawn + marked - total), min(drawn, marked)
    limit = _hypergeometric_log(a, drawn, marked, total) + 1e-7  # R's allowance for rounding
    logs = (_hypergeometric_log(i, drawn, marked, total) for i in range(least, most + 1))
    return min(1.0, math.fsum(math.exp(log) for log in logs if log <= limit))


def _hypergeometric_log(hits: int, drawn: int, marked: int, total: int) -> float:
    return (
        log_choose(marked, hits)
        + log_choose(total - marked, drawn - hits)
        - log_choose(total, drawn)
    )


def _ratios_up(hits: int, drawn: int, marked: int, total: int) -> Iterator[float]:
    """Probability of one hit more over that of so many, from `hits` on."""
    for i in count(hits):
        yield (marked - i) * (drawn - i) / ((i + 1) * (total - marked - drawn + i + 1))


def _ratios_down(hits: int, drawn: int, marked: int, total: int) -> Iterator[float]:
    for i in range(hits, 0, -1):
        yield i * (total - marked - drawn + i) / ((marked - i + 1) * (drawn - i + 1))


def _series(ratios: Iterable[float]) -> float:
    """1 + r1 + r1 r2 + ... of ratios that fall, until the rest no longer counts."""
    total = term = 1.0
    for ratio in ratios:
        term *= ratio
        total += term
        if term <= NEGLIGIBLE * total:
            break
    return total
