"""Axes of images and signals: changes in shares of their range of values, before normalisation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs import image_changes as changes
from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, Example, ExampleSet, Modality
from telemetry.explain.inputs.hue import RGB
from telemetry.explain.inputs.segments import SIGNAL_DIMENSIONS
from telemetry.explain.inputs.unit_scale import UnitScale
from telemetry.explain.perturbation.axis import Axis, evenly, seed_of, with_value

CLIPPED = 1e-6  # beyond the range

Change = Callable[[Tensor, float, int], Tensor]  # image from 0 to 1, amount, seed


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
        ("hue", _DEGREES, -180.0, 180.0, 0.0, _plain(changes.hue_rotated), RGB),
        ("saturation", _FACTOR, 0.0, 2.0, 1.0, _plain(changes.saturated), RGB),
        ("blur", "pixels", 0.0, 5.0, 0.0, _plain(changes.blurred), None),
        ("noise", _RANGE, 0.0, 0.5, 0.0, changes.noisy, None),
        ("rotate", _DEGREES, -45.0, 45.0, 0.0, _plain(changes.rotated), None),
        ("shift", "of the width", -0.25, 0.25, 0.0, _plain(changes.shifted), None),
        ("scale", _FACTOR, 0.5, 1.5, 1.0, _plain(changes.scaled), None),
        ("crop", "of the side", 0.0, 0.5, 0.0, _plain(changes.cropped), None),
        ("jpeg", "quality", 5.0, 100.0, 100.0, _plain(changes.compressed), None),
    )
}


SIGNAL_AXES = frozenset({"brightness", "contrast", "noise", "blur", "shift", "scale"})


def image_axis(
    name: str, examples: ExampleSet, steps: int, span: tuple[float, float] | None, seed: int
) -> Axis:
    """The axis of a name of `IMAGE_AXES`; see `axis_of`.

    A signal of channels and samples is an image of one row. Nothing of it is clipped: a range
    that was measured on examples is no bound of what a sensor gives.

    Raises:
        UsageError: the inputs are no images, or have no colours to turn.
    """
    kind = IMAGE_AXES[name]
    shape = tuple(examples.example(0).input.shape)
    is_signal = _are_signals(examples) and name in SIGNAL_AXES
    is_image = examples.modality is Modality.IMAGE and len(shape) == IMAGE_DIMENSIONS
    if not is_image and not is_signal:
        raise UsageError(
            f"--axis {name}: inputs of shape {shape} are not images; {_instead(examples)}."
        )
    if kind.channels is not None and shape[0] != kind.channels:
        raise UsageError(
            f"--axis {name}: images have {shape[0]} channels, expected red, green, blue."
        )
    low, high = span or (kind.low, kind.high)
    scale = UnitScale.of(examples)

    def apply(example: Example, amount: float) -> tuple[Tensor, float]:
        if amount == kind.neutral:
            return example.input, 0.0
        changed = _changed_signal if is_signal else _changed
        return changed(scale, example, amount, kind.change, seed)

    return Axis(
        name=name,
        unit=kind.unit,
        neutral=kind.neutral,
        values=with_value(evenly(low, high, steps), kind.neutral),
        apply=apply,
        can_clip=not is_signal,
    )


def _changed(
    scale: UnitScale, example: Example, amount: float, change: Change, seed: int
) -> tuple[Tensor, float]:
    before = scale.unit(example.input)
    after = change(before, amount, seed_of(example, seed))
    left = _outside(after) & ~_outside(before)  # what lay outside already is not our doing
    return scale.input(after.clamp(0, 1), example.input.dtype), float(left.double().mean())


def _changed_signal(
    scale: UnitScale, example: Example, amount: float, change: Change, seed: int
) -> tuple[Tensor, float]:
    before = scale.unit(example.input)[:, None]  # one row
    after = change(before, amount, seed_of(example, seed))[:, 0]
    return scale.input(after, example.input.dtype), 0.0


def _are_signals(examples: ExampleSet) -> bool:
    first = examples.example(0).input
    is_array = examples.modality is Modality.TABULAR and first.is_floating_point()
    return is_array and first.dim() == SIGNAL_DIMENSIONS


def _outside(unit: Tensor) -> Tensor:
    return (unit < -CLIPPED) | (unit > 1 + CLIPPED)


def _instead(examples: ExampleSet) -> str:
    """What can be changed of inputs that are no images."""
    if examples.example(0).input.dim() == IMAGE_DIMENSIONS:
        return (
            'if they are images of channels x height x width, set modality = "image" in the '
            "data set"
        )
    if examples.modality is Modality.IMAGE:
        return "pass them as channels x height x width"
    if examples.modality is Modality.TEXT:
        return "for texts, use token-drop, case, typo or synonym"
    if _are_signals(examples):
        return f"for signals, use {', '.join(sorted(SIGNAL_AXES))}"
    if examples.example(0).input.dim() == 1:
        return "for rows, use feature:COLUMN"
    return "test such inputs with a hypothesis and your own transform"
