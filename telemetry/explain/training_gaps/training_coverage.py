"""Is something like this in the training set? Test examples against training examples.

Three comparisons, for each is blind to what another sees: attributes know light and length but no
content, the model's representation knows content but was trained to ignore light, and groups know
which attributes, categories and classes come together.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch

from telemetry.errors import UsageError
from telemetry.evaluate.overview.gap_words import SHORTCUT
from telemetry.explain.inputs.attributes import measured
from telemetry.explain.inputs.examples import ExampleSet
from telemetry.explain.inputs.unit_scale import range_notes
from telemetry.explain.models.origin import Origin
from telemetry.explain.models.subject import Subject, example_set
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import Check
from telemetry.explain.results.identities import identity_of
from telemetry.explain.results.result import Result
from telemetry.explain.training_gaps.columns_of_sets import LABEL, compared_columns
from telemetry.explain.training_gaps.compared_columns import MOST_LEVELS, ComparedColumn
from telemetry.explain.training_gaps.gaps import (
    OUTSIDE,
    Flags,
    Floats,
    Gap,
    attribute_gaps,
    hole_gap,
    missing_label,
    neighbour_gap,
    shortcut_gap,
    with_errors,
)
from telemetry.explain.training_gaps.holes import holes, pairs_of
from telemetry.explain.training_gaps.neighbours import nearest_distances
from telemetry.explain.training_gaps.shortcuts import Shortcut, shortcuts
from telemetry.explain.training_gaps.sides import Side, Told, side_of
from telemetry.explain.training_gaps.signs import colours, phrases
from telemetry.explain.training_gaps.suspicions import suspicions
from telemetry.requests.explain.coverage import CoverageSettings

MOST_TRAINING = 100_000  # examples that are searched; of more, a random part
SHOWN = 5  # uncovered examples of an answer
CHUNK = 256  # examples in memory at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coverage(Result):
    """A test set against a training set.

    Attributes:
        id: Equal for equal questions to equal weights.
        origin: Whose answer it is.
        train: Name of the training set.
        test: Name of the test set.
        train_n: Training examples.
        test_ids: Of the test examples, in order.
        gaps: Every comparison of attributes and neighbours, and the groups that training lacks; a
            gap only where `reported`.
        n_columns: Columns, the label among them, whose ranges were looked for in training.
        n_pairs: Pairs of them.
        distances: Of each test example from training; None: they were not measured.
        accuracy: On the test set.
        warnings: What was left out, and why.
        forwards: Inputs that the model was run on.
        seconds: How long it took.
        checks: None: a gap is a statement about data.
    """

    KIND: ClassVar[str] = "coverage"

    id: str
    origin: Origin
    train: str
    test: str
    train_n: int
    test_ids: tuple[str, ...]
    gaps: tuple[Gap, ...]
    n_columns: int
    n_pairs: int
    distances: Floats | None
    accuracy: float
    warnings: tuple[str, ...]
    forwards: int
    seconds: float
    checks: tuple[Check, ...] = ()

    @property
    def reported(self) -> list[Gap]:
        """The gaps, findings first, then those of most examples."""
        found = [gap for gap in self.gaps if gap.reported]
        return sorted(found, key=lambda gap: (not gap.is_finding, -gap.outside_n))

    @property
    def has_finding(self) -> bool:
        """Whether the model is wrong more often somewhere outside."""
        return any(gap.is_finding for gap in self.gaps)

    def examples(self, gap: Gap, limit: int | None = SHOWN) -> list[str]:
        """Ids of uncovered test examples, of `knn` the farthest first."""
        places = np.array(gap.ranked, dtype=np.int64)
        if not gap.ranked:
            places = np.flatnonzero(gap.outside)
        if gap.kind == "knn" and self.distances is not None:
            places = places[np.argsort(-self.distances[places], kind="stable")]
        return [self.test_ids[place] for place in places[:limit]]


def coverage(
    subject: Subject,
    train: object,
    test: object = None,
    settings: CoverageSettings | None = None,
    progress: Progress | None = None,
) -> Coverage:
    """Compare a test set with a training set.

    Args:
        subject: The model; one forward an example of both sets.
        train: What it was trained on: a data set, or an entry point of one.
        test: What it is asked about; None: the data set of the subject.
        settings: How.
        progress: Told how many examples are done, of how many.

    Raises:
        UsageError: no test set, sets that do not belong to the model, an unknown layer, or a
            regression without a tolerance.
    """
    if test is None and subject.examples is None:
        raise UsageError("no test examples were given; name them with --test package.module:name.")
    asked = subject.examples if test is None else test
    return _compared(subject, example_set(train), example_set(asked), settings, progress)


def _compared(
    subject: Subject,
    train: ExampleSet,
    test: ExampleSet,
    settings: CoverageSettings | None,
    progress: Progress | None,
) -> Coverage:
    settings, started = settings or CoverageSettings(), time.perf_counter()
    if not 0 < settings.k < len(train):
        raise UsageError(f"--k {settings.k}: the training set has only {len(train)} examples.")
    if train.modality is not test.modality:
        raise UsageError(
            f"training set {train.name} has modality {train.modality}, but test set {test.name} "
            f"has {test.modality}."
        )
    told = Told(progress, len(train) + len(test))
    training, testing = (side_of(subject, part, settings, told) for part in (train, test))
    numbers = measured(train, test)
    attributes = attribute_gaps(*numbers)
    columns = compared_columns(numbers, (training.groups, testing.groups), train)
    asked = pairs_of(columns, LABEL)
    lost = _shortcuts(training, testing, columns, attributes, train)
    gaps = [*map(shortcut_gap, lost)]
    gaps += [*_groups(columns, asked, [*attributes, *gaps], len(testing.ids)), *attributes]
    warnings = range_notes(train)
    warnings += [
        f"{column.name} has too many values to form groups"
        for column in columns
        if len(column.levels) > MOST_LEVELS
    ]
    distances: Floats | None = None
    if training.vectors is None or testing.vectors is None:
        warnings.append(
            "the model has no linear layer; choose one with --layer to compare neighbours"
        )
    else:
        gap, distances = _neighbours(training, testing, settings)
        gaps.append(gap)
        if len(train) > MOST_TRAINING:
            warnings.append(
                f"neighbours were searched among {MOST_TRAINING} of {len(train)} training examples"
            )
    suspected = suspicions(training, testing, columns, _covered(gaps, len(testing.ids)))
    return Coverage(
        id=_identity(subject, (training, testing), settings),
        origin=subject.origin,
        train=train.name,
        test=test.name,
        train_n=len(training.ids),
        test_ids=testing.ids,
        gaps=(*(with_errors(gap, testing.wrong) for gap in gaps), *suspected),
        n_columns=sum(len(columns) == 1 for columns in asked),
        n_pairs=sum(len(columns) > 1 for columns in asked),
        distances=distances,
        accuracy=1 - float(testing.wrong.mean()),
        warnings=tuple(warnings),
        forwards=training.forwards + testing.forwards,
        seconds=time.perf_counter() - started,
    )


def _shortcuts(
    training: Side,
    testing: Side,
    columns: Sequence[ComparedColumn],
    attributes: Sequence[Gap],
    train: ExampleSet,
) -> list[Shortcut]:
    """What says the label in training alone, of what is not spread otherwise in the test set."""
    label = next((column for column in columns if column.name == LABEL), None)
    if label is None:
        return []
    moved = {gap.attribute for gap in attributes if gap.reported and gap.outside_share > OUTSIDE}
    usual = [column for column in columns if column.name not in {*moved, LABEL}]
    labels = [row.get(LABEL) for row in training.groups]
    signs = phrases(training, testing, labels, train)
    signs += [] if moved else colours(training, testing, label, train)
    return shortcuts(usual, signs, label)


def _groups(
    columns: Sequence[ComparedColumn],
    asked: Sequence[tuple[ComparedColumn, ...]],
    known: Sequence[Gap],
    n_test: int,
) -> list[Gap]:
    """Classes that training lacks, then what it lacks of the rest of the test examples."""
    missing = [gap for column in columns if column.name == LABEL for gap in missing_label(column)]
    explained = np.zeros(n_test, dtype=np.bool_)
    for gap in missing:
        explained |= gap.outside
    for gap in known:
        if gap.kind == SHORTCUT:
            explained |= gap.outside
    categories = [pair for pair in asked if len(pair) == 1 and pair[0].levels]
    named = holes(categories, explained, asked=len(asked))  # a name says more than a bound
    for outside in [
        *(hole.outside for hole in named),
        *(gap.outside for gap in known if gap.reported),
    ]:
        explained |= outside
    found = [*named, *holes(asked, explained, asked=len(asked))]
    return missing + [hole_gap(hole) for hole in found]


def _covered(gaps: Sequence[Gap], n_test: int) -> Flags:
    """Test examples that lie in no gap."""
    outside = np.zeros(n_test, dtype=np.bool_)
    for gap in gaps:
        outside |= gap.outside if gap.reported else False
    return ~outside


def _neighbours(training: Side, testing: Side, settings: CoverageSettings) -> tuple[Gap, Floats]:
    assert training.vectors is not None  # noqa: S101 - tells the type checker
    assert testing.vectors is not None  # noqa: S101 - tells the type checker
    generator = torch.Generator().manual_seed(settings.seed)
    n_train = len(training.vectors)
    kept = torch.randperm(n_train, generator=generator)[:MOST_TRAINING].sort().values
    reference = training.vectors[kept]
    among, _ = nearest_distances(reference, reference, settings.k, own=range(len(reference)))
    distances, which = nearest_distances(testing.vectors, reference, settings.k)
    far = np.asarray(distances.double().numpy(), dtype=np.float64)
    gap = neighbour_gap(np.asarray(among.double().numpy(), dtype=np.float64), far)
    places = np.flatnonzero(gap.outside)
    shown = places[np.argsort(-far[places], kind="stable")][:SHOWN]
    names = tuple(
        tuple(training.ids[int(kept[place])] for place in which[row].tolist()) for row in shown
    )
    return replace(gap, neighbours=names), far


def _identity(subject: Subject, sides: Sequence[Side], settings: CoverageSettings) -> str:
    return identity_of(
        {
            "verb": "explain.coverage",
            "checkpoint": subject.identity,
            "inputs": [list(zip(side.digests, side.ids, strict=True)) for side in sides],
            "groups": [[dict(levels) for levels in side.groups] for side in sides],
            "layer": settings.layer,
            "k": settings.k,
            "seed": settings.seed,
            "tolerance": settings.tolerance,
        }
    )
