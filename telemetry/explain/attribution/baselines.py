"""What an input is compared with: the reference decides what an attribution says."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.attribution.methods import RULES
from telemetry.explain.inputs.examples import Example, ExampleSet, Modality
from telemetry.explain.inputs.plain_images import blurred, mean_colour
from telemetry.explain.inputs.segments import Segments

SEED = 20260103
SEARCHED = 512  # examples, for those that references are made of
JUDGED = 64  # examples a forward, for those that are answered rightly
FREQUENT = "frequent"
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


def usual_rivals(
    modality: Modality, method: str, names: Sequence[str], defaults: Sequence[str]
) -> tuple[str, ...]:
    """Baselines that must name the same part: the usual ones where another was chosen.

    A grey or black window of occlusion is itself no image: the mean colour is tried, too.

    Args:
        modality: What the inputs are.
        method: How they are explained.
        names: Baselines that are shown.
        defaults: Those that fit.
    """
    if method in RULES:
        return ()
    if method == "occlusion" and modality is Modality.IMAGE and {*names} <= {*defaults}:
        return ("colour",)
    return tuple(name for name in defaults if name not in names)


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
            name: `zero`, `mean`, `median`, `colour`, `blur`, `mask`, `frequent`, `train-sample:N`,
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
                how = " that is answered correctly" if of else ""
                raise UsageError(
                    f"there is no other example{of}{how}; choose another --baseline, such as zero."
                )
            return found
        values = self.example.input
        simple = {
            "zero": lambda: _zero(self.example, self.examples),
            "mean": lambda: torch.stack(self._others_of(name)).mean(0),
            "median": lambda: torch.stack(self._others_of(name)).median(0).values,
            "blur": lambda: blurred(values),
            "colour": lambda: mean_colour(values),
            "mask": lambda: _masked(self.example, self.examples),
            FREQUENT: self._frequent,
        }
        if name not in simple:
            known = ", ".join((*simple, "train-sample:16", "class-sample:16", "bins:16"))
            raise UsageError(f"--baseline {name}: choose {known}.")
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
            raise UsageError(f"--baseline {name}: the input contains integers; use mask.")
        return [other.input for other in self._others]

    def _frequent(self) -> Tensor:
        return _all_but_kept(self.example.input, self.examples, self.frequent_token)

    @cached_property
    def frequent_token(self) -> int:
        """The token that most texts of the data set have; one that all have is structure.

        Raises:
            UsageError: the input is no text, or all its tokens are special.
        """
        if self.example.input.is_floating_point():
            raise UsageError(f"--baseline {FREQUENT}: the input contains no tokens.")
        n_texts = min(len(self.examples), SEARCHED)
        texts = [self.examples.example(place).input for place in range(n_texts)]
        counts: Counter[int] = Counter(
            token for text in texts for token in set(text.flatten().tolist())
        )
        kept = {*self.examples.special_ids, self.examples.pad_id, self.examples.mask_id}
        words = [token for token in counts if token not in kept]
        if not words:
            raise UsageError(f"--baseline {FREQUENT}: the data set has no token that may be used.")
        words = [word for word in words if counts[word] < n_texts] or words
        return max(words, key=lambda word: (counts[word], -word))

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


def usable_references(
    made: References, names: Sequence[str], is_finite: Callable[[Tensor], bool]
) -> tuple[dict[str, list[Tensor]], tuple[str, ...]]:
    """The references of some baselines that the model answers, and what to know of the others.

    A text all of whose tokens are padding has nothing to attend to, and many models answer NaN:
    then tokens are replaced by a frequent one instead.

    Args:
        made: Makes them.
        names: Of the baselines.
        is_finite: Whether the model answers a reference with finite numbers.

    Raises:
        UsageError: the model answers none of them, or a name is unknown or does not fit.
    """
    found = {name: made.named(name) for name in names}
    usable = {name: group for name, group in found.items() if all(map(is_finite, group))}
    lost = [name for name in found if name not in usable]
    if not lost:
        return found, ()
    complaint = f"the model returns no finite number for the baseline {', '.join(lost)}"
    if usable:
        return usable, (f"{complaint}: only {', '.join(usable)} is shown",)
    if lost == ["mask"]:
        replacement = made.named(FREQUENT)
        if all(map(is_finite, replacement)):
            (token,) = made.examples.tokens(torch.tensor([made.frequent_token]))
            note = (
                f"{complaint}: hidden tokens are replaced by {token!r} instead; a mask_id would "
                "work better"
            )
            return {FREQUENT: replacement}, (note,)
    raise UsageError(f"{complaint}; choose another --baseline.")


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
    return _all_but_kept(example.input, examples, token)


def _all_but_kept(values: Tensor, examples: ExampleSet, token: int) -> Tensor:
    written = examples.padding.is_text(values)
    return torch.where(written, torch.full_like(values, token), values)
