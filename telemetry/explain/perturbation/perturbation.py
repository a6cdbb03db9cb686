"""Change one thing of an input, more and more: when does the answer turn wrong?

One example gets a threshold, refined by bisection; a data set gets a curve of its accuracy.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example, ExampleSet
from telemetry.explain.inputs.unit_scale import range_notes
from telemetry.explain.models.classifier import Classifier
from telemetry.explain.models.origin import Origin
from telemetry.explain.models.subject import Subject
from telemetry.explain.perturbation.axes import axis_of
from telemetry.explain.perturbation.axis import Axis
from telemetry.explain.perturbation.sweeps import (
    Turn,
    bisected,
    failing_intervals,
    is_monotone,
    nearest,
    turns,
)
from telemetry.explain.perturbation.walks import Counts, Step, Walk
from telemetry.explain.progress import Progress
from telemetry.explain.results.check import Check
from telemetry.explain.results.identities import identity_of
from telemetry.explain.results.result import Result
from telemetry.requests.explain.perturb import Group, PerturbSettings

LEAST_STEPS = 3
CLIPPED_LIMIT = 0.2  # of the elements; beyond, the picture is saturated, not changed
CHUNK = 8  # examples whose changed copies are in memory at once


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Perturbation(Result):
    """What one axis does to the answer to one example, or to the accuracy on a data set.

    Attributes:
        id: Equal for equal questions to equal weights.
        origin: Whose answer it is.
        example: What was changed; None: a data set.
        shown: Whose changes are drawn: the example, or the first of the data set.
        where: The condition that the examples fulfil; None: one example, or all.
        label: Its true class; None: a data set.
        axis: Along what.
        steps: Ascending, with the values of the bisection among them.
        baseline: Accuracy without any change.
        turns: Where the answer is lost, below and above no change.
        checks: What it was held against.
        warnings: What else a reader must know.
        forwards: Inputs that the model was run on.
        seconds: How long it took.
        seed: Of what was drawn.
        tolerance: Largest error that is still right; None: of a classifier.
    """

    KIND: ClassVar[str] = "perturb"

    id: str
    origin: Origin
    example: Example | None
    shown: Example
    where: str | None = None
    label: str | None
    axis: Axis
    steps: tuple[Step, ...]
    baseline: float
    turns: tuple[Turn, ...]
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    forwards: int
    seconds: float
    seed: int
    tolerance: float | None

    @property
    def values(self) -> list[float]:
        """What was tried, ascending."""
        return [step.value for step in self.steps]

    @property
    def right(self) -> list[bool]:
        """Whether the answer is right at each value, or the accuracy has not dropped."""
        return [step.right for step in self.steps]

    @property
    def neutral(self) -> Step:
        """The answer without a change."""
        return self.at(self.axis.neutral)

    @property
    def threshold(self) -> float | None:
        """First failing value, the one nearest to no change; None: none fails."""
        if not self.neutral.right:
            return self.axis.neutral
        return nearest(self.turns, self.axis.neutral)

    @property
    def monotone(self) -> bool:
        """Whether an answer that is lost never comes back farther out."""
        return is_monotone(self.values, self.right, self.axis.neutral)

    @property
    def failing(self) -> list[tuple[float, float]]:
        """Stretches of tried values at which it fails, ends included."""
        return failing_intervals(self.values, self.right)

    def at(self, value: float) -> Step:
        """The answer at one of the tried values."""
        return self.steps[self.values.index(value)]


def perturb(
    subject: Subject, example: str | Example, axis: str, settings: PerturbSettings | None = None
) -> Perturbation:
    """Walk one example along an axis until its answer turns wrong.

    Args:
        subject: Model and examples.
        example: Id or place, or an example that is in no data set.
        axis: See `telemetry.explain.perturbation.axes`.
        settings: How.

    Raises:
        UsageError: an unknown example or axis, one that does not fit, or a regression.
    """
    settings, started = settings or PerturbSettings(), time.perf_counter()
    with subject.running():
        classifier = Classifier(subject, settings.batch, settings.tolerance)
        chosen = classifier.examples.find(example) if isinstance(example, str) else example
        line = _axis(classifier, axis, settings).of(chosen)
        walk = Walk(classifier, chosen, line)
        walk.visit(line.values)
        found = tuple(bisected(turn, walk.is_right) for turn in _turns(walk.steps, line))
        checks = (walk.determinism(), *_clipping(walk.steps, line, found))
    return Perturbation(
        id=_identity(subject, [chosen], line, settings),
        origin=subject.origin,
        example=chosen,
        shown=chosen,
        label=classifier.name(classifier.truth(chosen)),
        axis=line,
        steps=walk.steps,
        baseline=walk.at(line.neutral).accuracy,
        turns=found,
        checks=checks,
        warnings=_notes(classifier.examples, line, int(not walk.is_changed)),
        forwards=classifier.forwards,
        seconds=time.perf_counter() - started,
        seed=settings.seed,
        tolerance=settings.tolerance,
    )


def perturb_all(
    subject: Subject,
    axis: str,
    settings: PerturbSettings | None = None,
    progress: Progress | None = None,
    group: Group | None = None,
) -> Perturbation:
    """Accuracy of a data set along an axis, and where it has dropped by five points.

    Args:
        subject: Model and examples.
        axis: See `telemetry.explain.perturbation.axes`.
        settings: How.
        progress: Told how many examples are done, of how many.
        group: Examples that are changed; None: all.

    Raises:
        UsageError: as for `perturb`.
    """
    settings, started = settings or PerturbSettings(), time.perf_counter()
    with subject.running():
        classifier = Classifier(subject, settings.batch, settings.tolerance)
        line = _axis(classifier, axis, settings)
        every = classifier.examples
        chosen = (
            list(every.examples(settings.limit))
            if group is None
            else every.find_all(group.ids[: settings.limit])
        )
        counts = Counts(classifier, line)
        for start in range(0, len(chosen), CHUNK):
            counts.add(chosen[start : start + CHUNK])
            if progress is not None:
                progress(min(start + CHUNK, len(chosen)), len(chosen))
    found = tuple(_turns(counts.steps, line))
    return Perturbation(
        id=_identity(subject, chosen, line, settings),
        origin=subject.origin,
        example=None,
        shown=chosen[0],
        where=None if group is None else group.where,
        label=None,
        axis=line,
        steps=counts.steps,
        baseline=counts.baseline,
        turns=found,
        checks=tuple(_clipping(counts.steps, line, found)),
        warnings=_notes(classifier.examples, line, counts.n_unchanged),
        forwards=classifier.forwards,
        seconds=time.perf_counter() - started,
        seed=settings.seed,
        tolerance=settings.tolerance,
    )


def _axis(classifier: Classifier, name: str, settings: PerturbSettings) -> Axis:
    if settings.steps < LEAST_STEPS:
        raise UsageError(f"--steps {settings.steps}: use at least {LEAST_STEPS}.")
    return axis_of(
        name,
        classifier.examples,
        steps=settings.steps,
        span=settings.span,
        seed=settings.seed,
    )


def _notes(examples: ExampleSet, axis: Axis, n_unchanged: int) -> tuple[str, ...]:
    """What a reader of the numbers must know."""
    if not n_unchanged:
        return tuple(range_notes(examples))
    which = "example" if n_unchanged == 1 else "examples"
    return (*range_notes(examples), f"{axis.name} has nothing to change in {n_unchanged} {which}")


def _turns(steps: Sequence[Step], axis: Axis) -> list[Turn]:
    return turns([step.value for step in steps], [step.right for step in steps], axis.neutral)


def _clipping(steps: Sequence[Step], axis: Axis, found: Sequence[Turn]) -> list[Check]:
    """At the threshold, if there is one, the picture is still one."""
    threshold = nearest(found, axis.neutral)
    return [
        Check(
            name="clipped",
            value=step.clipped,
            threshold=CLIPPED_LIMIT,
            ok=step.clipped <= CLIPPED_LIMIT,
            meaning="at the threshold, so many values left their range that the input is "
            "saturated rather than only changed",
        )
        for step in steps
        if step.value == threshold and axis.can_clip
    ]


def _identity(
    subject: Subject, examples: Sequence[Example], axis: Axis, settings: PerturbSettings
) -> str:
    return identity_of(
        {
            "verb": "explain.perturb",
            "checkpoint": subject.identity,
            "examples": [(example.digest, str(example.label)) for example in examples],
            "axis": axis.name,
            "values": axis.values,
            "seed": settings.seed,
            "tolerance": settings.tolerance,
        }
    )
