"""Differences of a score over the folds of a cross-validation, whose training sets overlap."""

import math

import numpy as np
import numpy.typing as npt

from telemetry.compare.statistics.intervals import Estimate


def fold_estimate(values: npt.NDArray[np.float64], *, n_train: float, n_test: float) -> Estimate:
    """Mean over folds with the error that it has although the folds share their training data.

    The variance of the mean is not var / J but (1 / J + n_test / n_train) var: without the second
    part, two equal learners differ "significantly" in 15 % (10 splits) to 56 % (100 splits).

    Args:
        values: One paired difference, or one score, a fold of every repetition, shape (J,), finite,
            at least 2.
        n_train: Examples that a fold trains on.
        n_test: Examples that a fold is scored on.

    Source: Nadeau and Bengio, Inference for the Generalization Error, Machine Learning 2003; for
    repeated folds Bouckaert and Frank, PAKDD 2004.
    """
    factor = 1 / values.size + n_test / n_train
    error = math.sqrt(factor * float(np.var(values, ddof=1)))
    return Estimate(difference=float(values.mean()), standard_error=error, df=values.size - 1)
