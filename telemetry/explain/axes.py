"""Axes along which an example is changed, each with a unit and a value that changes nothing.

Images are changed in shares of their range of values, before normalisation, and clipped to it.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain import image_changes as changes
from telemetry.explain.examples import IMAGE_DIMENSIONS, Example, ExampleSet, Modality
from telemetry.explain.unit_scale import UnitScale

STEPS = 21
FEATURE = "feature:"
TOKEN_DROP = "token-drop"  # noqa: S105 - no password
QUANTILE_EXAMPLES = 1000  # of which the quantiles of a column are taken
CLIPPED = 1e-6  # beyond the range
SEED_STRIDE = 1_000_003  # between seeds: no example has the noise of another

Change = Callable[[Tensor, float, int], Tensor]  # image from 0 to 1, amount, seed
Apply = Callable[[Example, float], tuple[Tensor, float]]  # the input, and the share clipped
Amounts = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Axis:
    """One way to change an example.

    Attributes:
        name: As the user says it.
        unit: Of its values; empty for a column, which has its own.
        neutral: The value that changes nothing; of a column that of the middle example.
        values: What is tried, ascending, the neutral value among them.
        apply: Example and value to an input and the share of its elements that were clipped.
        own: The value that an example has already, where that is not the same for all.
    """

    name: str
    unit: str
    neutral: float
    values: Amounts
    apply: Apply
    own: Callable[[Example], float] | None = None

    def of(self, example: Example) -> "Axis":
        """The axis as it lies for one example: its own value is the neutral one."""
        if self.own is None:
            return self
        neutral = self.own(example)
        return replace(self, neutral=neutral, values=_with(self.values, neutral))


@dataclass(frozen=True, slots=True, kw_only=True)
class _ImageAxis:
    unit: str
    low: float
    high: float
    neutral: float
    change: Change = field(compare=False)
    channels: int | None = None


def _plain(function: Callable[[Tensor, float], Tensor]) -> Change:
    return lambda image, amount, _seed: function(image, amount)


_RANGE, _FACTOR, _DEGREES = "of the range", "times", "degrees"
IMAGE_AXES: Mapping[str, _ImageAxis] = {
    name: _ImageAxis(
        unit=unit, low=low, high=high, neutral=neutral, change=change, channels=channels
    )
    for name, unit, low, high, neutral, change, channels in (
        ("brightness", _RANGE, -0.5, 0.5, 0.0, _plain(changes.brightened), None),
        ("contrast", _FACTOR, 0.0, 2.0, 1.0, _plain(changes.contrasted), None),
        ("gamma", "exponent", 0.2, 2.2, 1.0, _plain(changes.gamma_corrected), None),
        ("hue", _DEGREES, -180.0, 180.0, 0.0, _plain(changes.hue_rotated), changes.RGB),
        ("saturation", _FACTOR, 0.0, 2.0, 1.0, _plain(changes.saturated), changes.RGB),
        ("blur", "pixels", 0.0, 5.0, 0.0, _plain(changes.blurred), None),
        ("noise", _RANGE, 0.0, 0.5, 0.0, changes.noisy, None),
        ("rotate", _DEGREES, -45.0, 45.0, 0.0, _plain(changes.rotated), None),
        ("shift", "of the width", -0.25, 0.25, 0.0, _plain(changes.shifted), None),
        ("scale", _FACTOR, 0.5, 1.5, 1.0, _plain(changes.scaled), None),
        ("crop", "of the side", 0.0, 0.5, 0.0, _plain(changes.cropped), None),
        ("jpeg", "quality", 5.0, 100.0, 100.0, _plain(changes.compressed), None),
    )
}
AXES = (*IMAGE_AXES, TOKEN_DROP, f"{FEATURE}NAME")


def axis_of(
    name: str,
    examples: ExampleSet,
    *,
    steps: int = STEPS,
    span: tuple[float, float] | None = None,
    seed: int = 0,
) -> Axis:
    """The axis that a name means for a data set.

    Args:
        name: One of `AXES`.
        examples: Whose inputs are changed.
        steps: Values that are tried, from end to end; the neutral one is added.
        span: Both ends; None: those of the axis.
        seed: Of noise and of the order in which tokens are dropped.

    Raises:
        UsageError: an unknown axis, or one that does not fit the inputs; an empty span.
    """
    if span is not None and not (all(map(math.isfinite, span)) and span[0] < span[1]):
        raise UsageError(f"--range {span[0]:g}:{span[1]:g} is empty; write LOW:HIGH.")
    if name in IMAGE_AXES:
        return _image_axis(name, examples, steps, span, seed)
    if name == TOKEN_DROP:
        if examples.modality is not Modality.TEXT:
            raise UsageError(f"--axis {name}: the data set is no text, but {examples.modality}.")
        low, high = span or (0.0, 1.0)
        return Axis(
            name=name,
            unit="of the tokens",
            neutral=0.0,
            values=_with(_evenly(low, high, steps), 0.0),
            apply=lambda example, share: (_without_tokens(example, share, seed), 0.0),
        )
    if name.startswith(FEATURE):
        return _column_axis(name, examples, steps, span)
    raise UsageError(f"--axis {name}: say {', '.join(AXES)}.")


def _image_axis(
    name: str, examples: ExampleSet, steps: int, span: tuple[float, float] | None, seed: int
) -> Axis:
    kind = IMAGE_AXES[name]
    shape = tuple(examples.example(0).input.shape)
    if examples.modality is not Modality.IMAGE or len(shape) != IMAGE_DIMENSIONS:
        raise UsageError(f"--axis {name}: inputs of shape {shape} are no images.")
    if kind.channels is not None and shape[0] != kind.channels:
        raise UsageError(
            f"--axis {name}: images have {shape[0]} channels, expected red, green, blue."
        )
    low, high = span or (kind.low, kind.high)
    scale = UnitScale.of(examples)

    def apply(example: Example, amount: float) -> tuple[Tensor, float]:
        if amount == kind.neutral:
            return example.input, 0.0
        return _changed(scale, example, amount, kind.change, seed)

    return Axis(
        name=name,
        unit=kind.unit,
        neutral=kind.neutral,
        values=_with(_evenly(low, high, steps), kind.neutral),
        apply=apply,
    )


def _changed(
    scale: UnitScale, example: Example, amount: float, change: Change, seed: int
) -> tuple[Tensor, float]:
    before = scale.unit(example.input)
    after = change(before, amount, seed * SEED_STRIDE + example.index)
    left = _outside(after) & ~_outside(before)  # what lay outside already is not our doing
    return scale.input(after.clamp(0, 1), example.input.dtype), float(left.double().mean())


def _outside(unit: Tensor) -> Tensor:
    return (unit < -CLIPPED) | (unit > 1 + CLIPPED)


def _without_tokens(example: Example, share: float, seed: int) -> Tensor:
    """A share of the tokens removed, in an order of the example's own; one stays."""
    n_tokens = len(example.input)
    generator = torch.Generator().manual_seed(seed * SEED_STRIDE + example.index)
    order = torch.randperm(n_tokens, generator=generator)
    n_dropped = min(round(share * n_tokens), n_tokens - 1)
    return example.input[order[n_dropped:].sort().values]


def _column_axis(
    name: str, examples: ExampleSet, steps: int, span: tuple[float, float] | None
) -> Axis:
    first = examples.example(0).input
    if examples.modality is not Modality.TABULAR or first.dim() != 1:
        raise UsageError(f"--axis {name}: inputs of shape {tuple(first.shape)} are no rows.")
    names = examples.element_names(first)
    wanted = name.removeprefix(FEATURE)
    if wanted not in names:
        raise UsageError(f"--axis {name}: no such column; there are {', '.join(names[:8])}.")
    place = names.index(wanted)
    mean, deviation = (
        None if part is None else float(part.expand_as(first)[place])
        for part in examples.normalisation
    )

    def plain(value: float) -> float:
        return value if mean is None or deviation is None else value * deviation + mean

    def apply(example: Example, amount: float) -> tuple[Tensor, float]:
        row = example.input.clone()
        row[place] = amount if mean is None or deviation is None else (amount - mean) / deviation
        return (example.input if amount == own(example) else row), 0.0

    def own(example: Example) -> float:
        return plain(float(example.input[place]))

    seen = torch.tensor(
        [own(example) for example in examples.examples(QUANTILE_EXAMPLES)], dtype=torch.float64
    )
    shares = torch.linspace(0, 1, steps, dtype=torch.float64)
    tried = _evenly(*span, steps) if span else tuple(torch.quantile(seen, shares).tolist())
    middle = float(seen.median())
    return Axis(
        name=name,
        unit="",
        neutral=middle,
        values=_with(tried, middle),
        apply=apply,
        own=own,
    )


def _evenly(low: float, high: float, steps: int) -> Amounts:
    places = [low + (high - low) * place / (steps - 1) for place in range(steps)]
    return tuple(float(f"{value:.9g}") for value in places)  # 0.15, not 0.15000000000000002


def _with(values: Amounts, neutral: float) -> Amounts:
    return tuple(sorted({*values, neutral}))
