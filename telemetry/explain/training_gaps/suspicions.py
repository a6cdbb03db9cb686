"""What is wrong with the data themselves: copies, contradictions, doubtful labels, a leak."""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from telemetry.explain.training_gaps.columns_of_sets import LABEL, METADATA
from telemetry.explain.training_gaps.compared_columns import ComparedColumn
from telemetry.explain.training_gaps.doubts import doubtful
from telemetry.explain.training_gaps.gaps import Flags, Gap
from telemetry.explain.training_gaps.leaks import leaking
from telemetry.explain.training_gaps.likenesses import (
    CHANCE,
    near_texts,
    near_vectors,
    same_inputs,
)
from telemetry.explain.training_gaps.sides import Side

Places = npt.NDArray[np.int64]

SHOWN = 5  # examples of an answer
MOST_COLUMNS = 64  # that tell whether equal rows are chance


def suspicions(
    train: Side, test: Side, columns: Sequence[ComparedColumn], covered: Flags
) -> list[Gap]:
    """What is suspicious, as gaps that are reported.

    Args:
        train: The training set.
        test: The test set.
        columns: Of both.
        covered: Test examples that lie in no gap, shape (n_test,): the model knows their kind.
    """
    twins = _twins(train, test)
    found = [_copied(train, test, twins), _conflict(train, test, twins)]
    return [
        gap for gap in [*found, _doubt(train, test, covered), _leak(train, test, columns)] if gap
    ]


def _twins(train: Side, test: Side) -> Places:
    """Place in training of what each test example is nearly; -1: none."""
    if test.texts:
        return near_texts(train.texts, test.texts)
    if train.looks is None or test.looks is None or train.looks.shape[1] != test.looks.shape[1]:
        return same_inputs(train.digests, test.digests)
    spread = train.looks.std(0)
    scale = torch.where(spread > 0, spread, torch.ones_like(spread))
    near = near_vectors(train.looks / scale, test.looks / scale)
    same = same_inputs(train.digests, test.digests)
    same[~_telling(train.looks, test.looks)] = -1
    return np.where(same >= 0, same, near)


def _telling(train: Tensor, test: Tensor) -> Flags:
    """Which test rows are no row of training by chance, were columns independent."""
    log_p = np.full(len(test), math.log(len(train)))
    step = math.ceil(train.shape[1] / MOST_COLUMNS)
    for known, asked in zip(train.T[::step].tolist(), test.T[::step].tolist(), strict=True):
        counts = Counter(known)
        log_p += [math.log(max(counts[value], 1) / len(train)) for value in asked]
    return log_p <= math.log(CHANCE / len(test))


def _copied(train: Side, test: Side, twins: Places) -> Gap | None:
    places = np.flatnonzero(twins >= 0)
    if not places.size:
        return None
    first = places[0]
    said = (
        f"{places.size:,} of {len(test.ids):,} test examples are in training already, or nearly: "
        f"{test.ids[first]} is like {train.ids[twins[first]]} of training"
    )
    return _gap("twin", "copies of training", train, test, places, said, twins)


def _conflict(train: Side, test: Side, twins: Places) -> Gap | None:
    """Inputs that are alike and have more than one label."""
    labels = [[row.get(LABEL) for row in side.groups] for side in (train, test)]
    places = np.array(
        [n for n in np.flatnonzero(twins >= 0) if labels[0][twins[n]] != labels[1][n]],
        dtype=np.int64,
    )
    if not places.size:
        return None
    first = int(places[0])
    said = (
        f"{places.size:,} of {len(test.ids):,} test examples contradict a training example that is "
        f"like them: {test.ids[first]} has label {labels[1][first]}, {train.ids[twins[first]]} of "
        f"training {labels[0][twins[first]]}"
    )
    return _gap("conflict", "conflicting labels", train, test, places, said, twins)


def _doubt(train: Side, test: Side, covered: Flags) -> Gap | None:
    if test.answers is None:
        return None
    known, own = np.flatnonzero(covered), test.answers
    chosen = doubtful(own.labels[known], own.predictions[known], own.own[known], own.given[known])
    places = known[chosen]
    if not places.size:
        return None
    first = int(places[0])
    said = (
        f"{places.size:,} of {len(test.ids):,} test labels are doubtful, for the model is sure of "
        f"another class: {test.ids[first]} has label {test.groups[first].get(LABEL)}, the model "
        f"says {own.names[first]} ({100 * own.given[first]:.0f} %)"
    )
    return _gap("doubt", "doubtful labels", train, test, places, said, None)


def _leak(train: Side, test: Side, columns: Sequence[ComparedColumn]) -> Gap | None:
    label = next((column for column in columns if column.name == LABEL), None)
    inputs = [
        column
        for column in columns
        if column.name != LABEL and not column.name.startswith(METADATA) and column.makes_groups
    ]
    found = None if label is None else leaking(inputs, label)
    if found is None:
        return None
    name, accuracy = found
    said = (
        f"{name} alone says the label of {100 * accuracy:.1f} % of the test examples, and no other "
        "column comes near: is it known before the answer is?"
    )
    return _gap("leak", name, train, test, np.arange(len(test.ids)), said, None)


def _gap(
    kind: str,
    name: str,
    train: Side,
    test: Side,
    places: Places,
    said: str,
    twins: Places | None,
) -> Gap:
    outside = np.zeros(len(test.ids), dtype=np.bool_)
    outside[places] = True
    near = () if twins is None else tuple((train.ids[twins[n]],) for n in places[:SHOWN])
    return Gap(
        kind=kind,
        attribute=name,
        train_n=len(train.ids),
        test_n=len(test.ids),
        outside=outside,
        ranked=tuple(places.tolist()),
        neighbours=near,
        sentence=said,
        reported=True,
    )
