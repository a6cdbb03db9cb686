"""Whether the targets of batches that follow each other are more alike than those of others.

Batches drawn at random can come in any order. A sampler may well make each of them in some way of
its own (balanced, some classes of many); but where the data are read from one end to the other,
what stands beside each other in time is alike, and what is apart is not.
"""

import math
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.judgement.robust import FloatArray, IntArray

NEAR_STEPS = 8
CHANCE = 1e-4  # that a class is missing for so long between two batches that have it


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """How alike targets near in time are.

    Attributes:
        share: Of what they could be more alike than those of all batches: 0 in any order, 1 where
            each stretch has targets of one value.
        times: How often two targets of near batches are equal, for each time that two of all are.
        signal: Standard deviations of what chance makes of batches in any order.
    """

    share: float
    times: float
    signal: float


def order_of(steps: IntArray, means: FloatArray, *, spread: float) -> Order | None:
    """Compare batches at most 8 steps apart with all others.

    If the batches may stand in any order, then products of two centred means have the same
    expectation wherever the two stand, and products of different pairs are uncorrelated.

    Args:
        steps: Of the batches, ascending, shape (n,).
        means: Mean target of each, shape (n, k): shares of classes, or a number.
        spread: Variance of one target, summed over k: 1 less the sum of squares of shares.

    Returns:
        None where all batches are near, or have the same means.
    """
    centred = means - means.mean(axis=0)
    products = centred @ centred.T
    first, second = np.triu_indices(steps.size, k=1)
    pairs = products[first, second]
    near = np.abs(steps[second] - steps[first]) <= NEAR_STEPS
    n_near = int(near.sum())
    deviation = float(pairs.std())
    if not 0 < n_near < near.size or not deviation > 0 or not spread > 0:
        return None
    apart = float(pairs[near].mean() - pairs.mean())
    all_alike = max(1.0 - spread, 0.0)
    return Order(
        share=apart / spread,
        times=(all_alike + apart) / all_alike if all_alike > 0 else math.inf,
        signal=apart / deviation * math.sqrt(n_near * near.size / (near.size - n_near)),
    )


def returns(counts: FloatArray) -> bool:
    """Whether a class goes away for longer than chance allows, and comes back.

    Classes that come one after another, once each, are tasks; that they come again is the order of
    the data set.

    Args:
        counts: Targets by class of each batch, oldest first, shape (n, n_classes).
    """
    seen = np.concatenate([[0.0], np.cumsum(counts.sum(axis=1))])
    shares = counts.sum(axis=0) / seen[-1]
    for share, own in zip(shares.tolist(), counts.T, strict=True):
        places = np.flatnonzero(own > 0)
        if places.size < 2 or share >= 1:  # noqa: PLR2004 - it comes once
            continue
        longest = float((seen[places[1:]] - seen[places[:-1] + 1]).max())
        if longest * math.log1p(-share) < math.log(CHANCE / shares.size):
            return True
    return False
