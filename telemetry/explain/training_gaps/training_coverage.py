"""Is something like this in the training set? Test examples against training examples.

Three comparisons, for each is blind to what another sees: attributes know light and length but no
content, the model's representation knows content but was trained to ignore light, and groups know
what the metadata says.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from telemetry.capture.tensors.predictions import metadata_text
from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example, ExampleSet
from telemetry.explain.inputs.unit_scale import range_notes
from telemetry.explain.models.classifier import Classifier
from telemetry.explain.models.origin import Origin
from telemetry.explain.models.subject import Subject, example_set
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import Check
from telemetry.explain.results.identities import identity_of
from telemetry.explain.results.result import Result
from telemetry.explain.training_gaps.attributes import MOST_KEYS, measured
from telemetry.explain.training_gaps.gaps import (
    Flags,
    Floats,
    Gap,
    attribute_gaps,
    count_groups,
    group_gaps,
    identifying,
    neighbour_gap,
    with_errors,
)
from telemetry.explain.training_gaps.neighbours import listening, nearest_distances
from telemetry.requests.explain.coverage import CoverageSettings

MOST_TRAINING = 100_000  # examples that are searched; of more, a random part
SHOWN = 5  # uncovered examples of an answer
LABEL = "label"  # as the column of `example_evals`
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
        n_groups: Groups of labels and metadata that were looked for in training.
        has_labels: Whether one of these was the label.
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
    n_groups: int
    has_labels: bool
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
        places = np.flatnonzero(gap.outside)
        if gap.kind == "knn" and self.distances is not None:
            places = places[np.argsort(-self.distances[places], kind="stable")]
        return [self.test_ids[place] for place in places[:limit]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Side:
    """What the model makes of one data set; `vectors` are (n, n_features) of length one."""

    ids: tuple[str, ...]
    digests: tuple[str, ...]
    groups: tuple[Mapping[str, str], ...]
    wrong: Flags
    vectors: Tensor | None
    forwards: int


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
    told = _Told(progress, len(train) + len(test))
    training, testing = (_side(subject, part, settings, told) for part in (train, test))
    names = identifying(testing.groups, LABEL)
    wanted = _without(testing.groups, names)
    gaps = [
        *group_gaps(_without(training.groups, names), wanted, LABEL),
        *attribute_gaps(*measured(train, test)),
    ]
    warnings = range_notes(train)
    warnings += [f"{name} has too many values to form groups" for name in names]
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
    return Coverage(
        id=_identity(subject, (training, testing), settings),
        origin=subject.origin,
        train=train.name,
        test=test.name,
        train_n=len(training.ids),
        test_ids=testing.ids,
        gaps=tuple(with_errors(gap, testing.wrong) for gap in gaps),
        n_groups=count_groups(wanted, LABEL),
        has_labels=any(LABEL in levels for levels in wanted),
        distances=distances,
        accuracy=1 - float(testing.wrong.mean()),
        warnings=tuple(warnings),
        forwards=training.forwards + testing.forwards,
        seconds=time.perf_counter() - started,
    )


class _Told:
    """Counts examples over both sets for whoever shows progress."""

    def __init__(self, progress: Progress | None, of: int) -> None:
        self._progress, self._of, self._done = progress, of, 0

    def add(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._of)


def _side(subject: Subject, examples: ExampleSet, settings: CoverageSettings, told: _Told) -> _Side:
    """Run every example once; only what is compared is kept."""
    ids: list[str] = []
    digests: list[str] = []
    groups: list[Mapping[str, str]] = []
    wrong: list[Tensor] = []
    order: list[int] = []
    with subject.running():
        classifier = Classifier(
            replace(subject, examples=examples), settings.batch, settings.tolerance
        )
        with listening(subject, settings.layer) as heard:
            stream = examples.examples()
            while chunk := list(islice(stream, CHUNK)):
                inputs = [example.input for example in chunk]
                order += [len(ids) + place for place in classifier.order(inputs)]
                truths = [classifier.truth(example) for example in chunk]
                wrong.append(~classifier(inputs, truths).right)
                ids += [example.id for example in chunk]
                digests += [example.digest for example in chunk]
                named = [None if settings.tolerance else classifier.name(t) for t in truths]
                groups += [_levels(e, name) for e, name in zip(chunk, named, strict=True)]
                told.add(len(chunk))
    vectors = None
    if heard is not None:
        found = heard.vectors
        vectors = torch.empty_like(found)
        vectors[torch.tensor(order)] = found
    return _Side(
        ids=tuple(ids),
        digests=tuple(digests),
        groups=tuple(groups),
        wrong=np.asarray(torch.cat(wrong).numpy(), dtype=np.bool_),
        vectors=vectors,
        forwards=classifier.forwards,
    )


def _levels(example: Example, label: str | None) -> Mapping[str, str]:
    """Class and metadata that is no number, as the columns of `example_evals` name them."""
    found = {} if label is None else {LABEL: label}
    for key, value in list(example.metadata.items())[:MOST_KEYS]:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        text = None if is_number else metadata_text(value)
        if text is not None:
            found[f"m_{key}"] = text
    return found


def _without(rows: Sequence[Mapping[str, str]], names: Sequence[str]) -> list[Mapping[str, str]]:
    return [{key: level for key, level in row.items() if key not in names} for row in rows]


def _neighbours(training: _Side, testing: _Side, settings: CoverageSettings) -> tuple[Gap, Floats]:
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


def _identity(subject: Subject, sides: Sequence[_Side], settings: CoverageSettings) -> str:
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
