"""Answers along an axis: those to one example, and the accuracy of a data set."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from telemetry.explain.inputs.examples import Example
from telemetry.explain.models.classifier import Classifier
from telemetry.explain.perturbation.axis import Axis
from telemetry.explain.perturbation.sweeps import wilson
from telemetry.explain.results.check import Check, determinism

ACCURACY_DROP = 0.05  # five points


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The answer at one value.

    Attributes:
        value: On the axis.
        prediction: The answer; None for a data set.
        right: Whether it is the true class; for a data set, whether accuracy has not dropped.
        p_label: Probability of the true class; for a data set its mean; a regression has none.
        margin: Logit of the true class less the largest other; for a data set its mean.
        clipped: Share of the elements that left the range and were put back to its end.
        n: Examples.
        accuracy: Share of right answers.
    """

    value: float
    prediction: str | None
    right: bool
    p_label: float | None
    margin: float
    clipped: float
    n: int = 1
    accuracy: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the accuracy."""
        return wilson(round(self.accuracy * self.n), self.n)


class Walk:
    """Answers to one example at the values tried so far; `is_changed` if any value changed it."""

    def __init__(self, classifier: Classifier, example: Example, axis: Axis) -> None:
        self._classifier, self._example, self._axis = classifier, example, axis
        self._truth = classifier.truth(example)
        self._steps: dict[float, Step] = {}
        self.is_changed = False

    @property
    def steps(self) -> tuple[Step, ...]:
        """Ascending."""
        return tuple(self._steps[value] for value in sorted(self._steps))

    def at(self, value: float) -> Step:
        """The answer at a value that was tried."""
        return self._steps[value]

    def visit(self, values: Sequence[float]) -> None:
        """Try values in one batch."""
        pairs = [self._axis.apply(self._example, value) for value in values]
        self.is_changed |= any(_differ(inputs, self._example) for inputs, _ in pairs)
        found = self._classifier([inputs for inputs, _ in pairs], [self._truth] * len(pairs))
        for place, value in enumerate(values):
            right = bool(found.right[place])
            self._steps[value] = Step(
                value=value,
                prediction=self._classifier.name(found.predictions[place]),
                right=right,
                p_label=self._classifier.probability(found.log_p[place]),
                margin=float(found.margin[place]),
                clipped=pairs[place][1],
                accuracy=float(right),
            )

    def is_right(self, value: float) -> bool:
        """Try one value more."""
        self.visit([value])
        return self._steps[value].right

    def determinism(self) -> Check:
        """Two identical calls on the unchanged example."""
        calls = [self._classifier([self._example.input], [self._truth]) for _ in range(2)]
        return determinism(calls[0].margin, calls[1].margin)


class Counts:
    """Sums over examples at each value of an axis, and without a change.

    `n_unchanged` counts those that no value changes.
    """

    def __init__(self, classifier: Classifier, axis: Axis) -> None:
        self._classifier, self._axis = classifier, axis
        self._n = 0
        self.n_unchanged = 0
        n_columns = len(axis.values) + 1  # the last: no change
        self._sums = torch.zeros(4, n_columns, dtype=torch.float64)  # right, p, margin, clipped

    def add(self, group: Sequence[Example]) -> None:
        """Judge some examples at every value."""
        inputs: list[Tensor] = []
        clipped: list[float] = []
        for example in group:
            pairs = [self._axis.apply(example, value) for value in self._axis.values]
            self.n_unchanged += not any(_differ(changed, example) for changed, _ in pairs)
            inputs += [changed for changed, _ in pairs] + [example.input]
            clipped += [share for _, share in pairs] + [0.0]
        n_columns = self._sums.shape[1]
        truths = [self._classifier.truth(example) for example in group]
        found = self._classifier(inputs, [truth for truth in truths for _ in range(n_columns)])
        shares = torch.tensor(clipped, dtype=torch.float64)
        values = torch.stack(
            [found.right.double(), found.log_p.double().exp(), found.margin.double(), shares]
        )
        self._sums += values.reshape(4, len(group), n_columns).sum(1)
        self._n += len(group)

    @property
    def baseline(self) -> float:
        """Accuracy without a change."""
        return float(self._sums[0, -1]) / self._n

    @property
    def steps(self) -> tuple[Step, ...]:
        """The curve."""
        means = (self._sums / self._n).tolist()
        return tuple(
            Step(
                value=value,
                prediction=None,
                right=accuracy > self.baseline - ACCURACY_DROP,
                p_label=None if self._classifier.tolerance is not None else p,
                margin=margin,
                clipped=clipped,
                n=self._n,
                accuracy=accuracy,
            )
            for value, accuracy, p, margin, clipped in zip(
                self._axis.values, *(row[:-1] for row in means), strict=True
            )
        )


def _differ(changed: Tensor, example: Example) -> bool:
    return not torch.equal(changed, example.input)
