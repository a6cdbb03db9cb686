"""Student's t distribution for real degrees of freedom, without scipy (an extra only)."""

import math
from functools import cache
from statistics import NormalDist

FRACTION_TERMS = 300
FRACTION_PRECISION = 1e-14
TINY = 1e-300
NORMAL_FROM_DF = 1e7  # quantiles agree with the normal ones to 1e-7 from here on
STEPS = 200  # of Newton's method or halving; a handful as a rule
PRECISION = 1e-13


def t_cdf(t: float, df: float) -> float:
    """P(T <= t) of Student's t with `df` > 0 degrees of freedom; `df` may be infinite.

    Source: Abramowitz and Stegun 26.7.1 in terms of the regularised incomplete beta function.
    """
    if df >= NORMAL_FROM_DF or math.isinf(t):
        return NormalDist().cdf(t)
    far, near = df / (df + t * t), t * t / (df + t * t)
    if near < 1.5 / (df / 2 + 2.5):  # where the fraction of this side converges fast
        within = _regularised_beta(0.5, df / 2, near, far)
    else:
        within = 1.0 - _regularised_beta(df / 2, 0.5, far, near)
    return 0.5 + math.copysign(within / 2, t)


@cache
def t_quantile(p: float, df: float) -> float:
    """The t with P(T <= t) = p, for 0 < p < 1 and `df` > 0."""
    if df >= NORMAL_FROM_DF:
        return NormalDist().inv_cdf(p)
    if p < 0.5:  # noqa: PLR2004 - the distribution is symmetric around one half
        return -t_quantile(1 - p, df)
    low, high = 0.0, 1.0
    while t_cdf(high, df) < p and high < 1 / TINY:
        low, high = high, high * 2
    guess = min(max(NormalDist().inv_cdf(p), low), high)
    for _ in range(STEPS):
        excess = t_cdf(guess, df) - p
        low, high = (guess, high) if excess < 0 else (low, guess)
        last, guess = guess, guess - excess / _t_density(guess, df)
        if not low < guess < high:  # Newton left the bracket: halve it instead
            guess = (low + high) / 2
        if abs(guess - last) <= PRECISION * abs(guess):
            break
    return guess


def _t_density(t: float, df: float) -> float:
    scale = math.lgamma((df + 1) / 2) - math.lgamma(df / 2) - 0.5 * math.log(df * math.pi)
    return math.exp(scale - (df + 1) / 2 * math.log1p(t * t / df))


def _regularised_beta(a: float, b: float, x: float, complement: float) -> float:
    """I_x(a, b) for x below its mean; `complement` is 1 - x without the rounding."""
    if x <= 0:
        return 0.0
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(scale + a * math.log(x) + b * math.log(complement))
    return front * _beta_fraction(a, b, x) / a


def _beta_fraction(a: float, b: float, x: float) -> float:
    """The continued fraction of the incomplete beta function.

    Source: modified Lentz algorithm, Press et al., Numerical Recipes, section 6.4.
    """
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1))
    value = d
    for m in range(1, FRACTION_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 / _away_from_zero(1.0 + term * d)
            c = _away_from_zero(1.0 + term / c)
            step = d * c
            value *= step
        if abs(step - 1.0) < FRACTION_PRECISION:
            break
    return value


def _away_from_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY
