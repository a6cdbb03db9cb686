"""Labels that a model contradicts where it is surest: confident learning.

A class counts as surely given to an example where its probability is at least the mean of that
class among the examples that are labelled so. An example that surely is of another class than its
label says has a doubtful label.

Source: Northcutt, Jiang and Chuang, Journal of Artificial Intelligence Research 2021, for the
thresholds; only the most probable class of an example is looked at.
"""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

SUREST = 4  # one part of so many
LEAST = 3  # contradictions among the surest answers; fewer are mistakes of the model
FLAT = 1 / 3  # of their share among all: a wrong label does not care how sure the model is
CHANCE = 0.01  # of so many mistakes among the surest answers, by the model's own probabilities
RELIABLE = 0.8  # share of right answers among the surest of a model whose word counts


def doubtful(labels: Places, predictions: Places, own: Floats, given: Floats) -> Places:
    """Places of doubtful labels, the most doubtful first; none where the surest answers are right.

    Args:
        labels: Class of each example, shape (n,).
        predictions: Its most probable class.
        own: Probability of the label.
        given: Probability of the prediction.
    """
    thresholds = {int(k): float(own[labels == k].mean()) for k in np.unique(labels)}
    limits = np.array([thresholds.get(int(k), 1.1) for k in predictions])
    contradicts = (predictions != labels) & (given >= limits)
    surest = np.argsort(-given, kind="stable")[: len(labels) // SUREST]
    n_sure = int(contradicts[surest].sum())
    if n_sure < LEAST or n_sure * SUREST < FLAT * int(contradicts.sum()):
        return np.empty(0, dtype=np.int64)
    if _poisson_tail(n_sure, float((1 - given[surest]).sum())) > CHANCE:
        return np.empty(0, dtype=np.int64)
    if float((predictions == labels)[surest].mean()) < RELIABLE:
        return np.empty(0, dtype=np.int64)
    places = np.flatnonzero(contradicts)
    order = np.argsort(-(given - own)[places], kind="stable")
    return np.asarray(places[order], dtype=np.int64)


def _poisson_tail(n: int, expected: float) -> float:
    """P(X >= n), of a count that is expected to be so large."""
    term, below = math.exp(-expected), 0.0
    for count in range(n):
        below += term
        term *= expected / (count + 1)
    return 1 - below
