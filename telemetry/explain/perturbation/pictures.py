"""The changed images of a perturbation: what the model still answers rightly, and what no more."""

from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, Modality
from telemetry.explain.inputs.unit_scale import UnitScale
from telemetry.explain.perturbation.perturbation import Perturbation
from telemetry.explain.pictures.draw import PANEL, UNIT, Row, picture_of_input, sheet_png

SIDE = PANEL // 2  # pixels of an image, about


def picture(found: Perturbation) -> bytes | None:
    """An image unchanged, on both sides of each threshold, and at the ends; None for others.

    Of a data set it is the first example, which may be answered otherwise than most.
    """
    examples, example = found.origin.examples, found.shown
    if examples is None or examples.modality is not Modality.IMAGE:
        return None
    if example.input.dim() != IMAGE_DIMENSIONS:
        return None
    scale, values = UnitScale.of(examples), _shown_values(found)
    changed = [found.axis.apply(example, value)[0] for value in values]
    row = Row(
        tiles=tuple(picture_of_input(scale.unit(image), UNIT) for image in changed),
        names=tuple(_name(found, value) for value in values),
    )
    who = f"example {example.id}" if found.example else f"example {example.id} of {found.neutral.n}"
    caption = f"{who}, {found.axis.name} {found.axis.unit}".rstrip()
    return sheet_png([row], caption, found.id, side=SIDE)


def _shown_values(found: Perturbation) -> list[float]:
    ends = (found.values[0], found.values[-1])
    sides = [value for turn in found.turns for value in (turn.right, turn.wrong)]
    return sorted({*ends, *sides, found.axis.neutral})


def _name(found: Perturbation, value: float) -> str:
    """The value, and the answer to it, or the accuracy."""
    step = found.at(value)
    said = f"{100 * step.accuracy:.0f} %" if step.prediction is None else step.prediction
    mark = "" if step.right else " (wrong)" if found.example else " (dropped)"
    return f"{value:.3g}: {said}{mark}"
