"""What is known of every example of one data set after the model has answered it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from telemetry.capture.tensors.predictions import metadata_text
from telemetry.explain.inputs.attributes import MOST_KEYS
from telemetry.explain.inputs.columns import categories_of
from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, Example, ExampleSet, Modality
from telemetry.explain.models.classifier import Classifier, Outcomes
from telemetry.explain.models.subject import Subject
from telemetry.explain.progress import Progress
from telemetry.explain.training_gaps.columns_of_sets import LABEL
from telemetry.explain.training_gaps.likenesses import Text
from telemetry.explain.training_gaps.neighbours import listening
from telemetry.requests.explain.coverage import CoverageSettings

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

CHUNK = 256  # examples in memory at once
SMALL = 12  # pixels a side of an image by which images are told apart


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answers:
    """What a classifier says of n examples, each of shape (n,).

    Attributes:
        labels: Classes.
        predictions: Most probable classes.
        own: Probabilities of the labels.
        given: Probabilities of the predictions.
        names: Of the predictions.
    """

    labels: Places
    predictions: Places
    own: Floats
    given: Floats
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Side:
    """One data set.

    Attributes:
        ids: Of its examples, in order.
        digests: Of their inputs.
        groups: Class and categories of each.
        wrong: Whether the answer is, shape (n,).
        answers: Of a classifier; None: of a regression.
        vectors: What a layer gives, (n, n_features) of length one; None: there is no such layer.
        looks: Inputs in small, (n, n_values); None: they are no images and no rows.
        texts: The written tokens of each text; empty for other inputs.
        forwards: Inputs that the model was run on.
    """

    ids: tuple[str, ...]
    digests: tuple[str, ...]
    groups: tuple[Mapping[str, str], ...]
    wrong: Flags
    answers: Answers | None
    vectors: Tensor | None
    looks: Tensor | None
    texts: tuple[Text, ...]
    forwards: int


class Told:
    """Counts examples over both sets for whoever shows progress."""

    def __init__(self, progress: Progress | None, of: int) -> None:
        self._progress, self._of, self._done = progress, of, 0

    def add(self, count: int) -> None:
        """So many more are done."""
        self._done += count
        if self._progress is not None:
            self._progress(self._done, self._of)


def side_of(subject: Subject, examples: ExampleSet, settings: CoverageSettings, told: Told) -> Side:
    """Run every example once; only what is compared is kept.

    Raises:
        UsageError: the examples do not belong to the model.
    """
    ids: list[str] = []
    digests: list[str] = []
    groups: list[Mapping[str, str]] = []
    outcomes: list[Outcomes] = []
    truth: list[float] = []
    looks: list[Tensor] = []
    texts: list[Text] = []
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
                truth += truths
                outcomes.append(classifier(inputs, truths))
                looks += [look for value in inputs if (look := _look(value, examples)) is not None]
                if examples.modality is Modality.TEXT:
                    texts += [examples.padding.parted(value).core for value in inputs]
                ids += [example.id for example in chunk]
                digests += [example.digest for example in chunk]
                named = [None if settings.tolerance else classifier.name(t) for t in truths]
                groups += [_levels(e, n, examples) for e, n in zip(chunk, named, strict=True)]
                told.add(len(chunk))
    vectors = None
    if heard is not None:
        found = heard.vectors
        vectors = torch.empty_like(found)
        vectors[torch.tensor(order)] = found
    return Side(
        ids=tuple(ids),
        digests=tuple(digests),
        groups=tuple(groups),
        wrong=~np.asarray(torch.cat([one.right for one in outcomes]).numpy(), dtype=np.bool_),
        answers=None if settings.tolerance else _answers(classifier, outcomes, truth),
        vectors=vectors,
        looks=torch.stack(looks) if len(looks) == len(ids) else None,
        texts=tuple(texts),
        forwards=classifier.forwards,
    )


def _levels(example: Example, label: str | None, examples: ExampleSet) -> Mapping[str, str]:
    """Class, categories of the input, and metadata that is no number."""
    found = {} if label is None else {LABEL: label}
    found |= categories_of(example, examples)
    for key, value in list(example.metadata.items())[:MOST_KEYS]:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        text = None if is_number else metadata_text(value)
        if text is not None:
            found[f"m_{key}"] = text
    return found


def _answers(
    classifier: Classifier, outcomes: Sequence[Outcomes], truths: Sequence[float]
) -> Answers:
    """The probability of an answer is that of the label times what the label lacks."""
    predictions, log_p, margin = (
        torch.cat([getattr(one, name) for one in outcomes])
        for name in ("predictions", "log_p", "margin")
    )
    return Answers(
        labels=np.array(truths, dtype=np.int64),
        predictions=np.asarray(predictions.numpy(), dtype=np.int64),
        own=np.asarray(log_p.exp().numpy(), dtype=np.float64),
        given=np.asarray((log_p - margin.clamp_max(0)).exp().numpy(), dtype=np.float64),
        names=tuple(classifier.name(answer) for answer in predictions),
    )


def _look(value: Tensor, examples: ExampleSet) -> Tensor | None:
    """An image in small, or a row of a table; None: of other inputs."""
    if examples.several is not None or examples.modality is Modality.TEXT:
        return None
    if value.dim() == IMAGE_DIMENSIONS and examples.modality is Modality.IMAGE:
        return functional.adaptive_avg_pool2d(value.float(), SMALL).flatten()
    return value.float() if value.dim() == 1 else None
