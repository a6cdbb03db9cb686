"""A classifier seen from outside: inputs go in, answers and their probabilities come out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from telemetry.capture.answers import as_logits, class_name
from telemetry.errors import UsageError
from telemetry.explain.examples import Example, ExampleSet
from telemetry.explain.reading import Reading
from telemetry.explain.subject import Subject

READ_EXAMPLES = 32  # from which the reading of outputs is taken


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """Answers to n inputs whose true class is known, each of shape (n,).

    Attributes:
        predictions: Classes.
        right: Whether they are the true ones.
        log_p: Logarithm of the probability of the true class.
        margin: Logit of the true class less the largest of the others.
    """

    predictions: Tensor
    right: Tensor
    log_p: Tensor
    margin: Tensor


class Classifier:
    """Answers inputs and counts them; use it inside `subject.running()`.

    Args:
        subject: Model and examples.
        batch: Inputs a forward.

    Raises:
        UsageError: the subject has no examples, or is no classifier.
    """

    def __init__(self, subject: Subject, batch: int) -> None:
        if subject.examples is None:
            raise UsageError("which examples? Name them by --dataset package.module:name.")
        self.subject, self.examples, self._batch = subject, subject.examples, batch
        self.forwards = 0
        self.reading = self._read(subject.examples)

    def __call__(self, inputs: Sequence[Tensor], truths: Sequence[int]) -> Outcomes:
        """Answers to inputs whose true classes are given; those of one shape share forwards."""
        logits = torch.empty(len(inputs), self.reading.n_classes or 0)
        for places in self._batches(inputs):
            output = self.subject.outputs(torch.stack([inputs[place] for place in places]))
            rows = as_logits(output.cpu(), are_probabilities=self.reading.are_probabilities)
            logits[places] = rows.float()
        self.forwards += len(inputs)
        return _outcomes(logits, torch.tensor(truths, dtype=torch.int64))

    def order(self, inputs: Sequence[Tensor]) -> list[int]:
        """Places of inputs in the order in which the model sees them: one shape after another."""
        return [place for places in self._batches(inputs) for place in places]

    def truth(self, example: Example) -> int:
        """Class of an example.

        Raises:
            UsageError: its label is none of the model's.
        """
        return self.reading.label_index(example)

    def name(self, index: int | Tensor) -> str:
        """Name of a class."""
        return class_name(int(index), self.reading.classes)

    def _read(self, examples: ExampleSet) -> Reading:
        first = list(examples.examples(READ_EXAMPLES))
        group = [example for example in first if example.input.shape == first[0].input.shape]
        output = self.subject.outputs(torch.stack([example.input for example in group]))
        self.forwards += len(group)
        reading = Reading.of(output, group, examples)
        if reading.n_classes is None:
            raise UsageError(
                "the model gives one number an example: a regression has no wrong answers, which "
                "this is about. Explain it by `telemetry explain input`."
            )
        return reading

    def _batches(self, inputs: Sequence[Tensor]) -> Iterator[list[int]]:
        shapes: dict[tuple[int, ...], list[int]] = {}
        for place, values in enumerate(inputs):
            shapes.setdefault(tuple(values.shape), []).append(place)
        for places in shapes.values():
            for start in range(0, len(places), self._batch):
                yield places[start : start + self._batch]


def _outcomes(logits: Tensor, truths: Tensor) -> Outcomes:
    own = logits.gather(1, truths[:, None])[:, 0]
    rest = logits.scatter(1, truths[:, None], -torch.inf)
    predictions = logits.argmax(1)
    return Outcomes(
        predictions=predictions,
        right=predictions == truths,
        log_p=functional.log_softmax(logits, dim=1).gather(1, truths[:, None])[:, 0],
        margin=own - rest.max(1).values,
    )
