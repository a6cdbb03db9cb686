"""What is explained: one number of the model's answer to an input."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
from torch import Tensor

from telemetry.capture.tensors.predictions import as_logits, class_name
from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example
from telemetry.explain.models.reading import Reading
from telemetry.requests.explain.input import PREDICTED, TRUE, WRONG

MOST_NAMES = 8  # of a hint


class ScoreKind(StrEnum):
    """Which number.

    A probability is not offered: it saturates, and it mixes in the other classes.
    """

    CONTRAST = "contrast"  # logit of the target less that of the other class
    VALUE = "value"  # output of a regression
    RESIDUAL = "residual"  # how far the same lies from the true value, towards the side it is on


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """The number, as a function of the model's outputs.

    Attributes:
        kind: Which number.
        target: Class that it speaks for; None for a regression.
        other: Class that it speaks against; None: the best of all others, wherever that is.
        offset: What is subtracted from the output of a regression.
        reading: How outputs are read.
        sign: 1, or -1 where a regression is below the truth: then what lowers it is asked about.
    """

    kind: ScoreKind
    target: int | None
    other: int | None
    offset: float
    reading: Reading
    sign: int = 1

    def of(self, outputs: Tensor) -> Tensor:
        """Scores of outputs of shape (n, n_classes) or (n,), shape (n,)."""
        if self.target is None:
            return self.sign * (outputs - self.offset)
        logits = as_logits(outputs, are_probabilities=self.reading.are_probabilities)
        own = logits[:, self.target]
        if self.other is not None:
            return own - logits[:, self.other]
        rest = logits.clone()
        rest[:, self.target] = -torch.inf
        return own - rest.max(1).values

    @property
    def target_name(self) -> str:
        """Name of the class spoken for."""
        return "the value" if self.target is None else class_name(self.target, self.reading.classes)

    @property
    def other_name(self) -> str | None:
        """Name of the class spoken against, None where it is the best of the others."""
        return None if self.other is None else class_name(self.other, self.reading.classes)


def score_for(target: str, output: Tensor, example: Example, reading: Reading) -> Score:
    """The score that a target means for one example.

    Args:
        target: `wrong`: why the answer and not the truth; `pred`: why the answer; `true`: what
            speaks for the truth; or a class by name or number.
        output: Of the model for the example, shape (1, n_classes) or (1,).
        example: The example.
        reading: How outputs are read.

    Raises:
        UsageError: an unknown class, or `wrong` of an example that is answered rightly.
    """
    if reading.n_classes is None:
        if target == WRONG:
            offset = reading.target_value(example)
            sign = -1 if float(output[0]) < offset else 1
            return _regression(ScoreKind.RESIDUAL, offset, reading, sign)
        if target != PREDICTED:
            raise UsageError(f"--target {target}: a regression has no classes; use pred or wrong.")
        return _regression(ScoreKind.VALUE, 0.0, reading)
    logits = as_logits(output, are_probabilities=reading.are_probabilities)[0]
    predicted = int(logits.argmax())
    if target == WRONG:
        truth = reading.label_index(example)
        if truth == predicted:
            raise UsageError(
                f"example {example.id} is answered correctly "
                f"({class_name(truth, reading.classes)}), but --target wrong needs a wrong "
                "answer. Use --target pred."
            )
        return _contrast(predicted, truth, reading)
    if target == PREDICTED:
        return _contrast(predicted, None, reading)
    if target == TRUE:
        return _contrast(reading.label_index(example), None, reading)
    return _contrast(_named(target, reading), None, reading)


def _contrast(target: int, other: int | None, reading: Reading) -> Score:
    if other is None and reading.n_classes == 2:  # noqa: PLR2004 - the other one
        other = 1 - target
    return Score(kind=ScoreKind.CONTRAST, target=target, other=other, offset=0.0, reading=reading)


def _regression(kind: ScoreKind, offset: float, reading: Reading, sign: int = 1) -> Score:
    return Score(kind=kind, target=None, other=None, offset=offset, reading=reading, sign=sign)


def _named(target: str, reading: Reading) -> int:
    if target in reading.classes:
        return reading.classes.index(target)
    n_classes = reading.n_classes or 0
    if target.isdigit() and int(target) < n_classes:
        return int(target)
    raise UsageError(f"--target {target}: {_hint(target, reading.classes, n_classes)}")


def _hint(target: str, classes: Sequence[str], n_classes: int) -> str:
    near = difflib.get_close_matches(target, classes, n=MOST_NAMES)
    if near:
        return f"no such class; the nearest are {', '.join(near)}."
    more = f" and {len(classes) - MOST_NAMES} more" if len(classes) > MOST_NAMES else ""
    names = ", ".join(classes[:MOST_NAMES]) + more
    return f"no such class; there are {names or f'0 to {n_classes - 1}'}."
