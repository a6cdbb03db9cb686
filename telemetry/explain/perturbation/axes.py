"""Axes along which an example is changed, each with a unit and a value that changes nothing."""

import math

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example, ExampleSet, Modality
from telemetry.explain.perturbation.axis import Axis, evenly, with_value
from telemetry.explain.perturbation.image_axes import IMAGE_AXES, image_axis
from telemetry.explain.perturbation.text_axes import SYNONYM, TEXT_AXES, text_axis

STEPS = 21
FEATURE = "feature:"
QUANTILE_EXAMPLES = 1000  # of which the quantiles of a column are taken
AXES = (*IMAGE_AXES, *TEXT_AXES, f"{SYNONYM}:FILE.json", f"{FEATURE}NAME")


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
        seed: Of noise, and of the order in which tokens, words and letters are changed.

    Raises:
        UsageError: an unknown axis, or one that does not fit the inputs; an empty span.
    """
    if span is not None and not (all(map(math.isfinite, span)) and span[0] < span[1]):
        raise UsageError(f"--range {span[0]:g}:{span[1]:g} is empty; write LOW:HIGH.")
    if name in IMAGE_AXES:
        return image_axis(name, examples, steps, span, seed)
    if name.partition(":")[0] in TEXT_AXES:
        return text_axis(name, examples, steps, span, seed)
    if name.startswith(FEATURE):
        return _column_axis(name, examples, steps, span)
    raise UsageError(f"--axis {name}: choose {', '.join(AXES)}.")


def _column_axis(
    name: str, examples: ExampleSet, steps: int, span: tuple[float, float] | None
) -> Axis:
    first = examples.example(0).input
    if examples.modality is not Modality.TABULAR or first.dim() != 1:
        raise UsageError(f"--axis {name}: inputs of shape {tuple(first.shape)} are not rows.")
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
    tried = evenly(*span, steps) if span else tuple(torch.quantile(seen, shares).tolist())
    middle = float(seen.median())
    return Axis(
        name=name,
        unit="",
        neutral=middle,
        values=with_value(tried, middle),
        apply=apply,
        own=own,
    )
