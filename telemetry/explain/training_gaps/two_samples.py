"""Do two samples come from one distribution?"""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TERMS = 100  # of the series; the rest is below 1e-300
SURE = 0.18  # lambda below which p is 1 in double precision


def kolmogorov_smirnov(first: Floats, second: Floats) -> tuple[float, float]:
    """Largest distance of two empirical distributions, and its two-sided p-value.

    Args:
        first: Values, finite.
        second: The same; neither is empty.

    Source: the asymptotic p-value with the correction of Stephens, Journal of the Royal
    Statistical Society B 1970.
    """
    values = np.concatenate([first, second])
    shares = [
        np.searchsorted(np.sort(sample), values, side="right") / len(sample)
        for sample in (first, second)
    ]
    distance = float(np.abs(shares[0] - shares[1]).max())
    size = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    return distance, _kolmogorov_p((size + 0.12 + 0.11 / size) * distance)


def _kolmogorov_p(scaled: float) -> float:
    if scaled < SURE:
        return 1.0
    total = math.fsum(
        (-1) ** (j - 1) * math.exp(-2 * j * j * scaled * scaled) for j in range(1, TERMS)
    )
    return min(1.0, max(0.0, 2 * total))
