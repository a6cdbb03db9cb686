"""How the outputs of a model and the labels of its examples are read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from telemetry.capture.tensors.predictions import (
    MATRIX,
    ClassAnswers,
    NumberAnswers,
    class_answers,
    class_index,
    look_like_probabilities,
    number_answers,
)
from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example, ExampleSet

BINARY = 2  # classes
UNKNOWN = -1  # class of an example without a label


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Decided on the first batch and held to afterwards.

    Attributes:
        n_classes: Classes of a classifier; None: a regression.
        classes: Their names; empty where they have none.
        are_probabilities: Whether outputs are probabilities, and not logits.
    """

    n_classes: int | None
    classes: tuple[str, ...]
    are_probabilities: bool

    @classmethod
    def of(
        cls,
        output: Tensor,
        group: Sequence[Example],
        examples: ExampleSet,
        *,
        is_sigmoid: bool = False,
    ) -> Self:
        """The reading that fits a first batch.

        One output an example is one of two classes where the data set names two or all labels are
        0 and 1, whole or not, else a regression. Where the batch has none the first example
        decides.

        Args:
            output: Of the model for the batch.
            group: The batch.
            examples: Its data set.
            is_sigmoid: Whether the outputs are those of a sigmoid.

        Raises:
            UsageError: classes are named, but not as many as the model has.
        """
        named = examples.classes
        group = [example for example in group if example.label is not None] or [examples.example(0)]
        n_classes: int | None = None
        if output.dim() == MATRIX:
            n_classes = output.shape[1]
        elif len(named) == BINARY or all(e.label in {0, 1} for e in group):
            n_classes = BINARY if all(map(_is_whole, group)) else None
        if n_classes is not None and named and len(named) != n_classes:
            raise UsageError(
                f"data set {examples.name} names {len(named)} classes, but the model has "
                f"{n_classes}."
            )
        return cls(
            n_classes=n_classes,
            classes=named,
            are_probabilities=look_like_probabilities(output)
            or (is_sigmoid and output.dim() == 1 and n_classes is not None),
        )

    def answers(self, output: Tensor, group: Sequence[Example]) -> ClassAnswers | NumberAnswers:
        """What the model says of a batch; nothing is right or wrong without a label.

        Raises:
            UsageError: a label is no class of the model, or no number.
        """
        if self.n_classes is None:
            targets = [
                math.nan if example.label is None else self.target_value(example)
                for example in group
            ]
            return number_answers(output.cpu(), torch.tensor(targets, dtype=torch.float64))
        labels = torch.tensor(
            [UNKNOWN if example.label is None else self.label_index(example) for example in group]
        )
        return class_answers(output, labels, are_probabilities=self.are_probabilities)

    def label_index(self, example: Example) -> int:
        """The class of an example.

        Raises:
            UsageError: its label is none of the model's.
        """
        if example.label is None:
            raise UsageError(_unlabelled(example))
        indices = {name: index for index, name in enumerate(self.classes)}
        index = class_index(example.label, indices)
        n_classes = self.n_classes or 0
        if index is None or not 0 <= index < n_classes:
            advice = (
                ""
                if self.classes or not isinstance(example.label, str)
                else "; list them in this order in `classes` of the data set"
            )
            raise UsageError(
                f"example {example.id} has the label {example.label!r}; the model has the classes "
                f"{', '.join(self.classes) or f'0 to {n_classes - 1}'}{advice}."
            )
        return index

    @staticmethod
    def target_value(example: Example) -> float:
        """The true number of an example.

        Raises:
            UsageError: its label is none.
        """
        if example.label is None:
            raise UsageError(_unlabelled(example))
        if isinstance(example.label, str):
            raise UsageError(
                f"example {example.id} has the label {example.label!r}, but the model returns "
                "one number per example; name the two classes of the data set, or use numbers "
                "as labels."
            )
        return float(example.label)


def _is_whole(example: Example) -> bool:
    return isinstance(example.label, str) or float(example.label or 0).is_integer()


def _unlabelled(example: Example) -> str:
    return f"example {example.id} has no label; set its true class with --label CLASS."
