"""Metrics of hypotheses, example by example."""

import math

import numpy as np
import numpy.typing as npt

from telemetry.evaluate.hypothesis_testing.hypothesis import ACCURACY, ERROR, LOSS, MAE
from telemetry.evaluate.stored.evaluations import Examples, StoredEvaluation, read_examples
from telemetry.store.sessions.session import Session
from telemetry.store.user_sql.expressions import matching

Floats = npt.NDArray[np.float64]


def measured(examples: Examples, metric: str, tolerance: float | None = None) -> Floats:
    """A metric of each example, NaN where nothing says it; shape (n,).

    Args:
        examples: Judged examples.
        metric: One of `METRICS`.
        tolerance: Largest error of a number that is right; without, no number is right or wrong.
    """
    if metric == LOSS:
        return examples.rows.floats("loss")
    if metric == MAE:
        return _deviations(examples)
    right = 1.0 - examples.errors
    if tolerance is not None:
        deviations = _deviations(examples)
        close = np.where(np.isnan(deviations), np.nan, deviations <= tolerance)
        right = np.where(np.isfinite(right), right, close)
    return right if metric == ACCURACY else 1.0 - right


def mean_of(
    session: Session,
    evaluation: StoredEvaluation,
    metric: str,
    *,
    where: str | None = None,
    tolerance: float | None = None,
) -> tuple[int, float]:
    """How many examples of an evaluation there are, and the mean of a metric over them.

    Args:
        session: That knows the evaluation.
        evaluation: Which one.
        metric: One of `METRICS`.
        where: Condition that chooses a part of the examples.
        tolerance: See `measured`.

    Returns:
        NaN as the mean where no example has a value.
    """
    known = {ACCURACY: evaluation.accuracy, ERROR: 1 - evaluation.accuracy, LOSS: evaluation.loss}
    if where is None and (metric == LOSS or not math.isnan(known.get(metric, math.nan))):
        return evaluation.n, known[metric]  # no need to read them
    examples = part_of(session, evaluation, where)
    values = measured(examples, metric, tolerance)
    if metric != LOSS:  # a loss that is not finite is no lack of a label
        values = values[np.isfinite(values)]
    return len(examples), float(values.mean()) if values.size else math.nan


def part_of(session: Session, evaluation: StoredEvaluation, where: str | None) -> Examples:
    """The examples of an evaluation that a condition chooses, all without one."""
    examples = read_examples(session, evaluation)
    return examples if where is None else examples.part(matching(examples.table, where))


def _deviations(examples: Examples) -> Floats:
    """How far each number lies from its target, NaN without one."""
    rows = examples.rows
    return np.asarray(np.abs(rows.floats("predicted_value") - rows.floats("target_value")))
