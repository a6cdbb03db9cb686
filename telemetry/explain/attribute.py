"""Which parts of an input made the model say that: an attribution, and whether to believe it."""

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from telemetry.errors import UsageError
from telemetry.explain import checks as checking
from telemetry.explain.baselines import DEFAULTS, baselines_of
from telemetry.explain.checks import Check
from telemetry.explain.examples import Example, ExampleSet, Modality
from telemetry.explain.methods import COMPLETE, METHODS, OF_ELEMENTS, Asked, Problem, run
from telemetry.explain.reading import Reading
from telemetry.explain.relu_rule import under_rule
from telemetry.explain.score import WRONG, Score, score_for
from telemetry.explain.segments import Segments, segments_of
from telemetry.explain.subject import Subject

ID_CHARACTERS = 16
SEARCHED = 512  # examples, for those that are answered rightly
SHOWN = 5  # segments of an answer
STABILITY_SEEDS = 3
RULES = frozenset({"deconv", "guided"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One segment of an answer; `share` is of all that speaks for the score."""

    segment: str
    value: float
    share: float
    box: tuple[int, int, int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attribution:
    """What each part of one input contributes to one score.

    Attributes:
        id: Equal for equal questions to equal weights.
        example: What was explained.
        prediction: The model's answer.
        label: The truth, by name.
        score: Which number is explained.
        score_input: Its value for the input.
        score_baseline: Its mean over the baselines.
        method: How.
        baselines: Names of the references.
        segments: Parts of the input.
        values: Of the input's shape.
        per_segment: Shape (n_segments,).
        checks: What it was held against.
        warnings: What else a reader must know.
        forwards: Inputs that the model was run on.
        seconds: How long it took.
        seed: Of what was drawn.
    """

    id: str
    example: Example
    prediction: str
    label: str
    score: Score
    score_input: float
    score_baseline: float
    method: str
    baselines: tuple[str, ...]
    segments: Segments
    values: Tensor
    per_segment: Tensor
    checks: tuple[Check, ...]
    warnings: tuple[str, ...]
    forwards: int
    seconds: float
    seed: int

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    def top(self, n: int = SHOWN) -> list[Part]:
        """The segments that speak most for the score, the strongest first."""
        positive = self.per_segment.clamp_min(0)
        total = max(float(positive.sum()), checking.EMPTY)
        order = self.per_segment.argsort(descending=True)[:n].tolist()
        return [
            Part(
                segment=self.segments.names[index],
                value=float(self.per_segment[index]),
                share=float(positive[index]) / total,
                box=self.segments.boxes[index] if self.segments.boxes else None,
            )
            for index in order
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How an attribution is made; None leaves the choice to what the input is.

    Attributes:
        method: `ig`, `occlusion`, `lime`, `kernelshap`, `deconv` or `guided`.
        segments: `grid:6x6`, `token` or `feature`.
        baseline: What the input is compared with.
        samples: Of LIME and KernelSHAP.
        seed: Of what is drawn.
        batch: Inputs a forward.
        check: Also hold it against deletion, random weights and occlusion.
        embedding: Name of the module that embeds tokens; None: the first `nn.Embedding`.
    """

    method: str = "ig"
    segments: str | None = None
    baseline: str | None = None
    samples: int | None = None
    seed: int = 0
    batch: int = 64
    check: bool = True
    embedding: str | None = None


def attribute(
    subject: Subject,
    example: str | Example,
    target: str = WRONG,
    settings: Settings | None = None,
) -> Attribution:
    """Attribute the answer to one example to its parts.

    Args:
        subject: Model and examples.
        example: Id or place of an example, or one that is in no data set.
        target: `wrong`, `pred`, `true`, or a class; see `score_for`.
        settings: How.

    Raises:
        UsageError: an unknown example, class, method or baseline, or one that does not fit.
    """
    settings = settings or Settings()
    if settings.method not in METHODS:
        raise UsageError(f"--method {settings.method}: say {', '.join(METHODS)}.")
    if subject.examples is None:
        raise UsageError("which examples? Name them by --dataset package.module:name.")
    started = time.perf_counter()
    chosen = subject.examples.find(example) if isinstance(example, str) else example
    with subject.running(gradient=True):
        return _Explainer(subject, subject.examples, chosen, target, settings).answer(started)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Map:
    """What a method gave: one raw map per reference, grouped by the name of the baseline."""

    raw: dict[str, list[Tensor]]
    segments: Segments
    of_elements: bool

    @property
    def by_baseline(self) -> dict[str, Tensor]:
        """Per segment, shape (n_segments,), for each baseline."""
        means = {name: torch.stack(maps).mean(0) for name, maps in self.raw.items()}
        if self.of_elements:
            return {name: self.segments.totals(values) for name, values in means.items()}
        return means

    @property
    def per_segment(self) -> Tensor:
        """Mean over the baselines, shape (n_segments,)."""
        return torch.stack(list(self.by_baseline.values())).mean(0)

    @property
    def values(self) -> Tensor:
        """Mean over the baselines, of the input's shape."""
        if not self.of_elements:
            return self.segments.spread(self.per_segment)
        return torch.stack([torch.stack(maps).mean(0) for maps in self.raw.values()]).mean(0)

    @property
    def native(self) -> Tensor:
        """As the method values things: elements or segments."""
        return self.values if self.of_elements else self.per_segment

    @property
    def totals(self) -> list[float]:
        """Sum of each raw map, in the order of the references."""
        return [float(values.sum()) for maps in self.raw.values() for values in maps]


class _Explainer:
    """One question on its way to an answer; the model runs in evaluation mode meanwhile."""

    def __init__(
        self,
        subject: Subject,
        examples: ExampleSet,
        example: Example,
        target: str,
        settings: Settings,
    ) -> None:
        self._subject, self._examples = subject, examples
        self._example, self._settings = example, settings
        with torch.no_grad():
            self._output = subject.outputs(example.input[None]).detach().cpu()
        self._reading = Reading.of(self._output, [example], examples)
        self._score = score_for(target, self._output, example, self._reading)
        self._segments = segments_of(example.input, examples, settings.segments)
        self._names = self._baseline_names()
        self._references = {
            name: baselines_of(name, example, examples, self._right_examples(name))
            for name in self._names
        }
        self._asked = Asked(function=self._scorer(subject))

    def answer(self, started: float) -> Attribution:
        """Values, checks and what they mean."""
        problem = self._problem(self._subject.model)
        found = self._mapped(problem)
        differences = [problem.difference(reference) for reference in self._all_references]
        checks = tuple(self._checks(found, problem, differences))
        with torch.no_grad():
            score_input = float(self._asked(self._example.input[None])[0])
        answers = self._reading.answers(self._output, [self._example]).columns(
            self._reading.classes
        )
        return Attribution(
            id=self._identity(),
            example=self._example,
            prediction=str(answers.get("prediction", answers.get("predicted_value", [""]))[0]),
            label=str(answers.get("label", [self._example.label])[0]),
            score=self._score,
            score_input=score_input,
            score_baseline=score_input - sum(differences) / len(differences),
            method=self._settings.method,
            baselines=self._names,
            segments=self._segments,
            values=found.values,
            per_segment=found.per_segment,
            checks=checks,
            warnings=tuple(self._warnings(found, checks)),
            forwards=self._asked.forwards,
            seconds=time.perf_counter() - started,
            seed=self._settings.seed,
        )

    @property
    def _all_references(self) -> list[Tensor]:
        return [reference for group in self._references.values() for reference in group]

    def _mapped(self, problem: Problem, method: str | None = None) -> _Map:
        method = method or self._settings.method
        return _Map(
            raw={
                name: [
                    run(method, problem, reference).detach().cpu().float() for reference in group
                ]
                for name, group in self._references.items()
            },
            segments=self._segments,
            of_elements=method in OF_ELEMENTS,
        )

    def _checks(
        self, found: _Map, problem: Problem, differences: Sequence[float]
    ) -> Iterator[Check]:
        settings = self._settings
        yield checking.determinism(found.per_segment, self._mapped(problem).per_segment)
        yield checking.not_empty(found.native, differences)
        if settings.method in COMPLETE:
            yield checking.completeness(found.totals, differences)
        if settings.method in RULES:
            yield checking.rule_saw_all(under_rule(settings.method, self._asked, problem.values))
        if settings.method == "lime":
            yield from self._lime_checks(found, problem)
        if not settings.check:
            return
        references = self._all_references
        lowest = references[max(range(len(references)), key=differences.__getitem__)]
        yield checking.deletion(problem, found.per_segment, lowest, settings.seed)
        support = checking.support_of(
            self._example.input, self._all_references, self._segments, found.native.numel()
        )
        yield checking.randomisation(
            lambda model: self._mapped(self._problem(model)).native,
            self._subject.model,
            found.native,
            support,
        )
        if settings.method != "occlusion":
            other = self._mapped(problem, "occlusion").per_segment
            yield checking.agreement(found.per_segment, other, self._segments.names)

    def _lime_checks(self, found: _Map, problem: Problem) -> Iterator[Check]:
        seed = self._settings.seed
        first = self._all_references[0]
        coefficients = next(iter(found.raw.values()))[0]
        yield checking.local_fit(problem, coefficients, first, seed)
        others = [
            self._mapped(replace(problem, seed=other)).per_segment
            for other in range(seed + 1, seed + STABILITY_SEEDS)
        ]
        yield checking.stability([found.per_segment, *others])

    def _warnings(self, found: _Map, checks: Sequence[Check]) -> Iterator[str]:
        firsts = {name: int(values.argmax()) for name, values in found.by_baseline.items()}
        if len(set(firsts.values())) > 1:
            said = ", ".join(f"{self._segments.names[i]} by {n}" for n, i in firsts.items())
            yield f"the baseline decides: {said}"
        for check in checks:
            if check.name == "local_fit" and check.ok and check.value < check.threshold:
                yield f"the linear model of LIME fits only in part (R2 {check.value:.2f})"
        if self._settings.method in RULES:
            yield "structure of the input that the network passes, no reason for the class"
        if not self._settings.check:
            yield "deletion, random weights and agreement were not checked"

    def _problem(self, model: nn.Module) -> Problem:
        is_own = model is self._subject.model
        subject = self._subject if is_own else replace(self._subject, model=model)
        return Problem(
            score=self._asked if is_own else Asked(function=self._scorer(subject)),
            values=self._example.input,
            segments=self._segments,
            embedding=self._embedding(model),
            samples=self._settings.samples,
            seed=self._settings.seed,
            batch=self._settings.batch,
        )

    def _scorer(self, subject: Subject) -> Callable[[Tensor], Tensor]:
        return lambda inputs: self._score.of(subject.outputs(inputs))

    def _embedding(self, model: nn.Module) -> nn.Module | None:
        if self._example.input.is_floating_point():
            return None
        named = self._settings.embedding
        module: nn.Module
        for name, module in model.named_modules():
            if name == named or (named is None and isinstance(module, nn.Embedding)):
                return module
        if named is not None:
            raise UsageError(f"--embedding {named}: the model has no such module.")
        return None

    def _baseline_names(self) -> tuple[str, ...]:
        if self._settings.baseline is not None:
            return (self._settings.baseline,)
        modality = self._examples.modality
        if modality is Modality.TABULAR and self._score.target is None:
            return ("train-sample:16",)
        return DEFAULTS[modality]

    def _right_examples(self, name: str) -> list[Example]:
        """Examples answered rightly, for baselines that are made of them."""
        if name in {"zero", "blur", "mask"}:
            return []
        found: list[Example] = []
        with torch.no_grad():
            for other in self._examples.examples(SEARCHED):
                if other.id == self._example.id:
                    continue
                output = self._subject.outputs(other.input[None])
                answers = self._reading.answers(output, [other]).columns(self._reading.classes)
                if answers.get("correct", [True])[0] is not False:
                    found.append(other)
        return found

    def _identity(self) -> str:
        settings = self._settings
        question = {
            "checkpoint": self._subject.identity,
            "digest": self._example.digest,
            "method": settings.method,
            "target": self._score.target,
            "other": self._score.other,
            "kind": self._score.kind,
            "baselines": self._names,
            "segments": self._segments.names,
            "samples": settings.samples,
            "seed": settings.seed,
            "check": settings.check,
        }
        text = json.dumps(question, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:ID_CHARACTERS]
