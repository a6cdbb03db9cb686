"""What metrics score for a model that knows nothing, read off their names."""

import re

import numpy as np

from telemetry.diagnose.judgement.evaluations import Evaluated
from telemetry.diagnose.judgement.harm import is_accuracy

# A ranking at random, and what is measured against the mean or against chance.
SCORES = {
    "auc": 0.5,
    "auroc": 0.5,
    "roc": 0.5,
    "r2": 0.0,
    "mcc": 0.0,
    "kappa": 0.0,
    "pearson": 0.0,
    "spearman": 0.0,
    "kendall": 0.0,
    "corr": 0.0,
    "correlation": 0.0,
}


def score_of_nothing(metric: Evaluated, commonest: float | None) -> float | None:
    """The score, in the unit of the metric (of 1, or in per cent); None where it is not known.

    Args:
        metric: Turned so that lower is better.
        commonest: Share of the commonest class; None: an accuracy has no level.
    """
    if metric.is_loss:
        return None
    in_percent = bool(np.any(metric.values < -1))
    if is_accuracy(metric.name):
        return commonest if commonest is None or not in_percent else 100 * commonest
    if in_percent:
        return None
    words = re.findall(r"[a-z]+\d*", metric.name.lower())
    return next((SCORES[word] for word in words if word in SCORES), None)
