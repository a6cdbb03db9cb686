"""One question about one input: the score, the parts, the references, and what methods say."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from telemetry.capture.tensors.predictions import as_logits
from telemetry.errors import UsageError
from telemetry.explain.attribution.attribution import AttributionMap
from telemetry.explain.attribution.baselines import (
    References,
    default_baselines,
    usable_references,
    usual_rivals,
)
from telemetry.explain.attribution.hidden_parts import without_tokens
from telemetry.explain.attribution.methods import (
    MOST_SEGMENTS,
    OF_ELEMENTS,
    RULES,
    SAMPLED,
    Problem,
    run,
)
from telemetry.explain.attribution.score import Score, score_for
from telemetry.explain.inputs.examples import Example, ExampleSet, Modality
from telemetry.explain.inputs.segments import Segments, segments_of
from telemetry.explain.models.outputs_reading import read_outputs
from telemetry.explain.models.reading import Reading
from telemetry.explain.models.subject import Subject, examples_of
from telemetry.requests.explain.input import WRONG, InputSettings

REMOVED = "removed"  # beside the baselines of an occluded text


@dataclass(slots=True, kw_only=True)
class Cost:
    """Inputs that models were run on so far."""

    forwards: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttributionQuestion:
    """What is asked, and the model that answers; use it inside `subject.running()`.

    Attributes:
        subject: Model and examples.
        example: What is explained.
        settings: How.
        output: Of the model for the example, shape (1, n_classes) or (1,).
        reading: How outputs are read.
        score: Which number is explained.
        segments: Parts of the input.
        references: What it is compared with, by the names of the baselines.
        rivals: What else it is compared with, to tell whether the baseline decides.
        cost: Counts inputs.
        notes: What a reader must know of the references.
        pace_s: Seconds that the model took for one of the first examples.
        finished: Told when a method has run.
    """

    subject: Subject
    example: Example
    settings: InputSettings
    output: Tensor
    reading: Reading
    score: Score
    segments: Segments
    references: dict[str, list[Tensor]]
    rivals: dict[str, list[Tensor]]
    cost: Cost
    notes: tuple[str, ...] = ()
    pace_s: float = 0.0
    finished: Callable[[], None] = field(default=lambda: None)

    @property
    def examples(self) -> ExampleSet:
        """The data set of the subject."""
        return examples_of(self.subject)

    @property
    def model(self) -> nn.Module:
        """What answers: rules and hooks reach what was compiled, not what compiled it."""
        compiled: nn.Module = self.subject.model
        inner = getattr(compiled, "_orig_mod", compiled)
        return inner if isinstance(inner, nn.Module) else compiled

    @property
    def all_references(self) -> list[Tensor]:
        """Those of all baselines."""
        return [reference for group in self.references.values() for reference in group]

    def problem(self, model: nn.Module | None = None) -> Problem:
        """The question as methods take it; put to another model, if one is given."""
        subject = replace(self.subject, model=self.model if model is None else model)
        outputs = counted(subject, self.cost)
        return Problem(
            score=lambda inputs: self.score.of(outputs(inputs)),
            values=self.example.input,
            segments=self.segments,
            embedding=_embedding(subject.model, self.example.input, self.settings.embedding),
            samples=self.settings.samples,
            seed=self.settings.seed,
            batch=self.settings.batch,
        )

    def answered(
        self,
        problem: Problem,
        method: str | None = None,
        references: Mapping[str, Sequence[Tensor]] | None = None,
    ) -> AttributionMap:
        """What a method, by default the one that was asked for, says; of other references, too."""
        method, references = method or self.settings.method, references or self.references
        found = {name: run(method, problem, group) for name, group in references.items()}
        if method in RULES:  # they take no reference
            found = dict(list(found.items())[:1])
        raw = {name: valued.values for name, valued in found.items()}
        if method == "occlusion" and self.takes_out_tokens:
            with suppress(UsageError):  # the model takes texts of one length alone
                raw[REMOVED] = without_tokens(problem, self.examples.padding)[None]
        self.finished()
        return AttributionMap(
            raw=raw,
            segments=self.segments,
            of_elements=method in OF_ELEMENTS,
            libraries=next(iter(found.values())).libraries,
            params=_most([valued.params for valued in found.values()]),
        )

    def predictions(self, inputs: Tensor) -> Tensor:
        """Classes of inputs, shape (n,)."""
        outputs = counted(self.subject, self.cost)
        with torch.no_grad():
            found = [outputs(part).cpu() for part in torch.split(inputs, self.settings.batch)]
        are_probabilities = self.reading.are_probabilities
        return as_logits(torch.cat(found), are_probabilities=are_probabilities).argmax(1)

    @property
    def takes_out_tokens(self) -> bool:
        """Whether occlusion also takes tokens out instead of masking them."""
        return self.examples.modality is Modality.TEXT and self.settings.baseline is None


def ask(
    subject: Subject, example: Example, target: str, settings: InputSettings
) -> AttributionQuestion:
    """The question that a target means for one example.

    Raises:
        UsageError: an unknown class, baseline or partition, or one that does not fit.
    """
    examples, cost = examples_of(subject), Cost()
    if settings.method in RULES and examples.modality is not Modality.IMAGE:
        raise UsageError(
            f"--method {settings.method} shows the structure of images; use --method ig or "
            "occlusion."
        )
    _need_gradient(examples, settings.method)
    outputs = counted(subject, cost)
    with torch.no_grad():
        output = outputs(example.input[None]).detach().cpu()
        started, before = time.perf_counter(), cost.forwards
        reading = read_outputs(outputs, examples)
        pace_s = (time.perf_counter() - started) / (cost.forwards - before)
    if not bool(torch.isfinite(output).all()):
        raise UsageError(f"the model returns no finite number for example {example.id}.")
    score = score_for(target, output, example, reading)
    methods = {settings.method, settings.compared}
    most = MOST_SEGMENTS if methods & SAMPLED else None
    segments = segments_of(example.input, examples, settings.segments, most)
    made = References(
        example=example,
        examples=examples,
        segments=segments,
        is_right=partial(_are_right, outputs, reading),
    )
    is_wrong = target == WRONG and score.target is not None
    references, rivals, notes = _compared_with(
        made, settings, partial(_is_finite, outputs), is_wrong=is_wrong
    )
    return AttributionQuestion(
        subject=subject,
        example=example,
        settings=settings,
        output=output,
        reading=reading,
        score=score,
        segments=segments,
        references=references,
        rivals=rivals,
        cost=cost,
        notes=notes,
        pace_s=pace_s,
    )


def _need_gradient(examples: ExampleSet, method: str) -> None:
    """Refuse gradients where one of several inputs has none.

    Raises:
        UsageError: it contains whole numbers, joined with fractions.
    """
    several = examples.several
    if method not in OF_ELEMENTS or several is None or several.tokens is not None:
        return
    whole = [part.name for part in several.parts if not part.dtype.is_floating_point]
    if whole:
        raise UsageError(
            f"--method {method}: the input {whole[0]} contains integers, which have no gradient; "
            "use --method occlusion or lime."
        )


def _compared_with(
    made: References,
    settings: InputSettings,
    is_finite: Callable[[Tensor], bool],
    *,
    is_wrong: bool,
) -> tuple[dict[str, list[Tensor]], dict[str, list[Tensor]], tuple[str, ...]]:
    """References by baseline, those of the baselines that are usual instead, and notes of them.

    Raises:
        UsageError: an unknown baseline, or one that does not fit.
    """
    modality = made.examples.modality
    defaults = default_baselines(modality, settings.method, is_wrong=is_wrong)
    names = defaults if settings.baseline is None else (settings.baseline,)
    references, notes = usable_references(made, names, is_finite)
    rivals: dict[str, list[Tensor]] = {}
    if settings.check:
        with suppress(UsageError):  # there are none of this kind
            usual = usual_rivals(modality, settings.method, names, defaults)
            rivals, _ = usable_references(made, usual, is_finite)
    return references, rivals, notes


def _are_right(
    outputs: Callable[[Tensor], Tensor], reading: Reading, group: Sequence[Example]
) -> Sequence[bool]:
    with torch.no_grad():
        output = outputs(torch.stack([other.input for other in group]))
    answers = reading.answers(output, group).columns(reading.classes)
    return [found is not False for found in answers.get("correct", [True] * len(group))]


def _is_finite(outputs: Callable[[Tensor], Tensor], reference: Tensor) -> bool:
    with torch.no_grad():
        return bool(torch.isfinite(outputs(reference[None])).all())


def _most(params: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The settings for several baselines; of those that differ, such as steps, the largest."""
    return {name: max(one[name] for one in params) for name in params[0]}


def counted(subject: Subject, cost: Cost) -> Callable[[Tensor], Tensor]:
    """The outputs of a subject, counted."""

    def outputs(inputs: Tensor) -> Tensor:
        cost.forwards += len(inputs)
        return subject.outputs(inputs)

    return outputs


def _embedding(model: nn.Module, values: Tensor, named: str | None) -> nn.Module | None:
    if values.is_floating_point():
        return None
    for name, module in model.named_modules():
        if name == named or (named is None and isinstance(module, nn.Embedding)):
            found: nn.Module = module
            return found
    if named is not None:
        raise UsageError(f"--embedding {named}: the model has no such module.")
    return None
