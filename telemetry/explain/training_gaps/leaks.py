"""Columns of the input that alone say the label."""

from collections.abc import Sequence

import numpy as np

from telemetry.explain.training_gaps.compared_columns import ComparedColumn

TELLS = 0.9  # of what the most frequent class leaves open
OTHERS = 0.5  # that no other column may tell: else the task is easy, and nothing leaks
LEAST_COLUMNS = 3


def leaking(columns: Sequence[ComparedColumn], label: ComparedColumn) -> tuple[str, float] | None:
    """The column that says nearly all of the label, and how often it is right; None: there is none.

    Each range of a column answers by the most frequent label of training, and is judged on test.

    Args:
        columns: Of the input.
        label: What is to be said.
    """
    if len(columns) < LEAST_COLUMNS or len(label.levels) < 2:  # noqa: PLR2004 - two classes
        return None
    _, truth = label.codes
    base = float(np.bincount(truth[truth >= 0]).max() / max(1, len(truth)))
    if base >= 1:
        return None
    right = sorted(((_accuracy(column, label), column.name) for column in columns), reverse=True)
    told = [(accuracy - base) / (1 - base) for accuracy, _ in right]
    if told[0] < TELLS or told[1] > OTHERS:
        return None
    return right[0][1], right[0][0]


def _accuracy(column: ComparedColumn, label: ComparedColumn) -> float:
    shape = (column.n_bins + 1, label.n_bins)  # the last: no value
    train, test = column.codes
    known, truth = label.codes
    table = np.zeros(shape)
    np.add.at(table, (train[known >= 0], known[known >= 0]), 1)
    return float((table.argmax(1)[test] == truth).mean())
