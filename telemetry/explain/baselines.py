"""What an input is compared with: the reference decides what an attribution says."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn import functional

from telemetry.errors import UsageError
from telemetry.explain.examples import IMAGE_DIMENSIONS, Example, ExampleSet, Modality
from telemetry.explain.segments import Segments

BLUR_SHARE = 7 / 24  # of the shorter side: a box of 7 px at 24 px
SEED = 20260103
SEARCHED = 512  # examples, for those that references are made of
JUDGED = 64  # examples a forward, for those that are answered rightly
QUARTERS = (0.25, 0.5, 0.75)

_SAMPLE = re.compile(r"(train-sample|class-sample|bins):(\d{1,4})")


def default_baselines(modality: Modality, method: str, *, is_wrong: bool) -> tuple[str, ...]:
    """Baselines that fit; of several the mean is shown.

    Args:
        modality: What the inputs are.
        method: How they are explained.
        is_wrong: Whether a wrong answer of a classifier is asked about.
    """
    if modality is Modality.IMAGE:
        return ("blur", "zero")
    if modality is Modality.TEXT:
        return ("mask",)
    if method == "lime":
        return ("bins:16",)
    return ("class-sample:16",) if is_wrong else ("train-sample:16",)


@dataclass(frozen=True, kw_only=True, eq=False)
class References:
    """Makes the references of one example.

    Attributes:
        example: What is explained.
        examples: Its data set, from which others are drawn.
        segments: Parts of the input.
        is_right: Whether the model answers examples rightly.
    """

    example: Example
    examples: ExampleSet
    segments: Segments
    is_right: Callable[[Sequence[Example]], Sequence[bool]]

    def named(self, name: str) -> list[Tensor]:
        """The references that a name means; an attribution is the mean over them.

        Args:
            name: `zero`, `mean`, `median`, `colour`, `blur`, `mask`, `train-sample:N`,
                `class-sample:N`, or `bins:N`: N rows, each part of which comes from a row of the
                data set in whose quarter of values the explained one does not lie.

        Raises:
            UsageError: an unknown name, or one that does not fit the input.
        """
        sample = _SAMPLE.fullmatch(name)
        if sample is not None:
            found = self._sampled(sample[1], int(sample[2]))
            if not found:
                of = f" of class {self.example.label}" if sample[1] == "class-sample" else ""
                how = " that is answered rightly" if of else ""
                raise UsageError(f"there is no other example{of}{how}; choose another --baseline.")
            return found
        values = self.example.input
        simple = {
            "zero": lambda: _zero(self.example, self.examples),
            "mean": lambda: torch.stack(self._others_of(name)).mean(0),
            "median": lambda: torch.stack(self._others_of(name)).median(0).values,
            "blur": lambda: blurred(values),
            "colour": lambda: mean_colour(values),
            "mask": lambda: _masked(self.example, self.examples),
        }
        if name not in simple:
            known = ", ".join((*simple, "train-sample:16", "class-sample:16", "bins:16"))
            raise UsageError(f"--baseline {name}: say {known}.")
        return [simple[name]()]

    @cached_property
    def _others(self) -> list[Example]:
        """Other examples of the input's shape in random order, 512 at most."""
        generator = torch.Generator().manual_seed(SEED)
        found = []
        for place in torch.randperm(len(self.examples), generator=generator)[:SEARCHED].tolist():
            other = self.examples.example(place)
            if other.digest == self.example.digest and other.label == self.example.label:
                continue
            if other.input.shape == self.example.input.shape:
                found.append(other)
        return found

    def _others_of(self, name: str) -> list[Tensor]:
        if not self._others:
            raise UsageError(f"--baseline {name}: the data set has no other input of this shape.")
        if not self.example.input.is_floating_point():
            raise UsageError(f"--baseline {name}: the input holds integers; say mask.")
        return [other.input for other in self._others]

    def _sampled(self, kind: str, count: int) -> list[Tensor]:
        if kind == "train-sample":
            return [other.input for other in self._others[:count]]
        if kind == "class-sample":
            return [other.input for other, _ in zip(self._right(), range(count), strict=False)]
        generator = torch.Generator().manual_seed(SEED)
        return self._from_other_quarters(count, generator) if self._others else []

    def _right(self) -> Iterator[Example]:
        """Others of the same class that are answered rightly."""
        same = [other for other in self._others if other.label == self.example.label]
        for start in range(0, len(same), JUDGED):
            group = same[start : start + JUDGED]
            for other, right in zip(group, self.is_right(group), strict=True):
                if right:
                    yield other

    def _from_other_quarters(self, count: int, generator: torch.Generator) -> list[Tensor]:
        rows = torch.stack(self._others_of("bins"))
        found = self.example.input.expand(count, *self.example.input.shape).clone()
        for part in range(len(self.segments)):
            columns = self.segments.labels == part
            elsewhere = other_quarter(rows[:, columns], self.example.input[columns])
            places = elsewhere.nonzero().flatten()
            if len(places):
                picks = torch.randint(len(places), (count,), generator=generator)
                found[:, columns] = rows[:, columns][places[picks]]
        return list(found)


def other_quarter(rows: Tensor, own: Tensor) -> Tensor:
    """Which rows lie in another quarter of the values than a part's own, bool, shape (n,).

    A part of several columns is a code: it differs where any of its columns does.

    Args:
        rows: Values of the part, shape (n, n_columns).
        own: Shape (n_columns,).
    """
    if rows.shape[1] > 1:
        return (rows != own).any(1)
    edges = torch.quantile(rows[:, 0].double(), torch.tensor(QUARTERS, dtype=torch.float64))
    edges = torch.unique(edges)
    return torch.searchsorted(edges, rows[:, 0].double()) != torch.searchsorted(
        edges, own[0].double()
    )


def blurred(values: Tensor) -> Tensor:
    """An image smoothed by a box of 7/24 of its shorter side.

    Raises:
        UsageError: no image.
    """
    if values.dim() != IMAGE_DIMENSIONS:
        raise UsageError(f"--baseline blur: an input of shape {tuple(values.shape)} is no image.")
    size = max(3, round(BLUR_SHARE * min(values.shape[1:])) | 1)
    padded = functional.pad(values[None], [size // 2] * 4, mode="replicate")
    return functional.avg_pool2d(padded, size, stride=1)[0]


def mean_colour(values: Tensor) -> Tensor:
    """An image of one colour, its own mean.

    Raises:
        UsageError: no image.
    """
    if values.dim() != IMAGE_DIMENSIONS:
        raise UsageError(f"--baseline colour: an input of shape {tuple(values.shape)} is no image.")
    return values.mean((1, 2), keepdim=True).expand_as(values).contiguous()


def _zero(example: Example, examples: ExampleSet) -> Tensor:
    """Zero before normalisation, where the data set says how it normalises."""
    zero = torch.zeros_like(example.input)
    mean, deviation = examples.normalisation
    return zero if mean is None or deviation is None else (zero - mean) / deviation


def _masked(example: Example, examples: ExampleSet) -> Tensor:
    """Every token hidden but padding and those that the data set calls special."""
    token = examples.mask_id if examples.mask_id is not None else examples.pad_id
    if token is None:
        raise UsageError(
            "--baseline mask: the data set names neither mask_id nor pad_id; give it one."
        )
    kept = examples.special_ids | ({examples.pad_id} if examples.pad_id is not None else set())
    fixed = torch.isin(example.input, torch.tensor(sorted(kept), dtype=example.input.dtype))
    return torch.where(fixed, example.input, torch.full_like(example.input, token))
