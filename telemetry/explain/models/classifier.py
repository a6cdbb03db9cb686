"""A model seen from outside: inputs go in, answers come out that are right or wrong.

A classifier is right where it names the true class, a regression where it errs by no more than a
tolerance.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from telemetry.capture.tensors.predictions import as_logits, class_name
from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example, ExampleSet
from telemetry.explain.models.outputs_reading import (
    READ_EXAMPLES,
    places_of_one_shape,
    read_outputs,
)
from telemetry.explain.models.reading import Reading
from telemetry.explain.models.subject import Subject, examples_of


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outcomes:
    """Answers to n inputs whose true class is known, each of shape (n,).

    Attributes:
        predictions: Classes; of a regression values.
        right: Whether they are the true ones.
        log_p: Logarithm of the probability of the true class; of a regression the error over the
            tolerance, negative.
        margin: Logit of the true class less the largest of the others; of a regression what is
            left of the tolerance.
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
        tolerance: Largest error of a regression that is still right.

    Raises:
        UsageError: the subject has no examples, is a regression without a tolerance, or a
            classifier with one.
    """

    def __init__(self, subject: Subject, batch: int, tolerance: float | None = None) -> None:
        self.subject, self.examples, self._batch = subject, examples_of(subject), batch
        self.tolerance = tolerance
        self.forwards = 0
        self.reading = self._read(self.examples)

    def __call__(self, inputs: Sequence[Tensor], truths: Sequence[float]) -> Outcomes:
        """Answers to inputs whose truths are given; inputs of one shape share forwards."""
        n_columns = self.reading.n_classes or 1
        found = torch.empty(len(inputs), n_columns, dtype=torch.float64)
        for places in self._batches(inputs):
            output = self.subject.outputs(torch.stack([inputs[place] for place in places])).cpu()
            if self.tolerance is None:
                output = as_logits(output, are_probabilities=self.reading.are_probabilities)
            found[places] = output.double().reshape(-1, n_columns)
        self.forwards += len(inputs)
        known = torch.tensor(truths, dtype=torch.float64)
        if self.tolerance is not None:
            return _near(found[:, 0], known, self.tolerance)
        return _outcomes(found, known.long())

    def order(self, inputs: Sequence[Tensor]) -> list[int]:
        """Places of inputs in the order in which the model sees them: one shape after another."""
        return [place for places in self._batches(inputs) for place in places]

    def truth(self, example: Example) -> float:
        """Class of an example, or its true value.

        Raises:
            UsageError: its label is none of the model's, or no number.
        """
        if self.tolerance is not None:
            return self.reading.target_value(example)
        return self.reading.label_index(example)

    def agree(self, first: float, second: float) -> bool:
        """Whether two truths are one, within the tolerance of a regression."""
        return abs(first - second) <= (self.tolerance or 0.0)

    def name(self, answer: float | Tensor) -> str:
        """Name of a class, or a value as text."""
        if self.tolerance is not None:
            return f"{float(answer):.4g}"
        return class_name(int(answer), self.reading.classes)

    def probability(self, log_p: float | Tensor) -> float | None:
        """Probability of the true class; a regression has none."""
        return None if self.tolerance is not None else math.exp(float(log_p))

    def _read(self, examples: ExampleSet) -> Reading:
        reading = read_outputs(self.subject.outputs, examples)
        self.forwards += min(READ_EXAMPLES, len(examples))
        if reading.n_classes is None and not (self.tolerance or 0) > 0:
            raise UsageError(
                "the model returns one number per example; set the largest error of a correct "
                "answer with --tolerance."
            )
        if reading.n_classes is not None and self.tolerance is not None:
            raise UsageError("--tolerance is only for regressions, but this model returns classes.")
        return reading

    def _batches(self, inputs: Sequence[Tensor]) -> Iterator[list[int]]:
        return places_of_one_shape(inputs, self._batch)


def _near(values: Tensor, truths: Tensor, tolerance: float) -> Outcomes:
    errors = (values - truths).abs()
    return Outcomes(
        predictions=values,
        right=errors <= tolerance,
        log_p=-errors / tolerance,
        margin=tolerance - errors,
    )


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
