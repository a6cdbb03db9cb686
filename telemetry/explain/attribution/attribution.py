"""What an attribution is: the contribution of each part of one input to one score."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from telemetry.explain.attribution.phrases import Phrase
from telemetry.explain.attribution.score import Score
from telemetry.explain.inputs.columns import Given
from telemetry.explain.inputs.examples import Example
from telemetry.explain.inputs.segments import Segments
from telemetry.explain.models.origin import Origin
from telemetry.explain.results.check import EMPTY, Check, MethodCheck
from telemetry.explain.results.result import Result
from telemetry.json_values import Json

SHOWN = 5  # segments of an answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One segment of an answer.

    Attributes:
        segment: Its name.
        value: Its contribution.
        share: Of all that speaks for the score.
        box: Where it lies in an image.
        std: Of the contribution over the references; None: there is one reference.
        by_baseline: The contribution for each baseline.
        is_unstable: Whether its sign differs between draws.
        given: What a column of a table is, and what it was compared with; None: it is no column.
    """

    segment: str
    value: float
    share: float
    box: tuple[int, int, int, int] | None
    std: float | None
    by_baseline: Mapping[str, float]
    is_unstable: bool
    given: Given | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class AttributionMap:
    """What a method gave.

    Attributes:
        raw: For each baseline the values of n references, shape (n, *input) for a method that
            values elements, else (n, n_segments); n is 1 where the method takes all references
            together.
        segments: Parts of the input.
        of_elements: Whether the method values elements.
        libraries: Distributions that computed the values; none: this package.
        params: Settings of the method that were used, such as steps and samples.
    """

    raw: Mapping[str, Tensor]
    segments: Segments
    of_elements: bool
    libraries: tuple[str, ...]
    params: Mapping[str, float]

    @property
    def by_baseline(self) -> dict[str, Tensor]:
        """Per segment, shape (n_segments,), for each baseline."""
        return {name: self._in_segments(maps.mean(0)) for name, maps in self.raw.items()}

    @property
    def per_segment(self) -> Tensor:
        """Mean over the baselines, shape (n_segments,)."""
        return torch.stack(list(self.by_baseline.values())).mean(0)

    @property
    def values(self) -> Tensor:
        """Mean over the baselines, of the input's shape."""
        if not self.of_elements:
            return self.segments.spread(self.per_segment)
        return torch.stack([maps.mean(0) for maps in self.raw.values()]).mean(0)

    @property
    def native(self) -> Tensor:
        """As the method values things: elements or segments."""
        return self.values if self.of_elements else self.per_segment

    @property
    def stds(self) -> Tensor | None:
        """Standard deviation over the references, shape (n_segments,); None where there is one."""
        maps = next(iter(self.raw.values()))
        if len(self.raw) > 1 or len(maps) == 1:
            return None
        return torch.stack([self._in_segments(values) for values in maps]).std(0)

    def _in_segments(self, values: Tensor) -> Tensor:
        return self.segments.totals(values) if self.of_elements else values


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """The same question by another method."""

    method: str
    best: str  # segment
    agrees: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A part without which the model answers something else."""

    segment: str
    prediction: str
    share: float  # of the references that it was replaced by


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attribution(Result):
    """What each part of one input contributes to one score.

    Attributes:
        id: Equal for equal questions to equal weights.
        origin: Whose answer it is.
        example: What was explained.
        prediction: The model's answer.
        label: The truth, by name; None: not known.
        score: Which number is explained.
        score_input: Its value for the input.
        score_baseline: Its mean over the baselines.
        method: How.
        baselines: Names of the references.
        found: Values of elements or segments, for each baseline.
        shown: What a picture shows, of the input's shape.
        unstable: Segments whose sign differs between draws, bool, shape (n_segments,).
        checks: What it was held against.
        method_check: Whether maps of this method depend on what these weights learnt, which is no
            verdict on this input; None: it was not asked.
        compared: What another method says; None: none was asked.
        changed: Parts without which the answer is another; None: the method does not tell.
        given: What each column of a table is; empty for other inputs.
        phrase: Of a text: neighbouring tokens that do more together than any of them alone.
        warnings: What else a reader must know.
        forwards: Inputs that the model was run on, those of the checks among them.
        seconds: How long it took.
        seed: Of what was drawn.
        params: Every setting that it was made with.
    """

    KIND: ClassVar[str] = "input"

    id: str
    origin: Origin
    example: Example
    prediction: str
    label: str | None
    score: Score
    score_input: float
    score_baseline: float
    method: str
    baselines: tuple[str, ...]
    found: AttributionMap
    shown: Tensor
    unstable: Tensor
    checks: tuple[Check, ...]
    method_check: MethodCheck | None
    compared: Comparison | None
    changed: tuple[Changed, ...] | None
    given: tuple[Given, ...]
    phrase: Phrase | None
    warnings: tuple[str, ...]
    forwards: int
    seconds: float
    seed: int
    params: Mapping[str, Json]

    @property
    def target(self) -> str | None:
        """Name of the class that the score speaks for; None: it is a number."""
        return None if self.score.target is None else self.score.target_name

    @property
    def segments(self) -> Segments:
        """Parts of the input."""
        return self.found.segments

    @property
    def values(self) -> Tensor:
        """Contributions, of the input's shape."""
        return self.found.values

    @property
    def per_segment(self) -> Tensor:
        """Contributions of the segments, shape (n_segments,)."""
        return self.found.per_segment

    def top(self, n: int = SHOWN) -> list[Part]:
        """The segments that speak most for the score, the strongest first."""
        values, stds = self.per_segment, self.found.stds
        by_baseline = self.found.by_baseline
        positive = values.clamp_min(0)
        total = max(float(positive.sum()), EMPTY)
        return [
            Part(
                segment=self.segments.names[index],
                value=float(values[index]),
                share=float(positive[index]) / total,
                box=self.segments.boxes[index] if self.segments.boxes else None,
                std=None if stds is None else float(stds[index]),
                by_baseline={name: float(found[index]) for name, found in by_baseline.items()},
                is_unstable=bool(self.unstable[index]),
                given=self.given[index] if self.given else None,
            )
            for index in values.argsort(descending=True)[:n].tolist()
        ]
