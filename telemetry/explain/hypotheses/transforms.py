"""Changes of examples by which a hypothesis is tested: an axis and an amount, or the user's own."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch

from telemetry.capture.tensors.predictions import input_digest
from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import Example, ExampleSet
from telemetry.explain.models.entry_points import resolve
from telemetry.explain.names import kind_of
from telemetry.explain.perturbation.axes import axis_of
from telemetry.json_values import Json

TRIPLE = 3

Transform = Callable[[Example], Example]
UserFunction = Callable[[torch.Tensor, object, dict[str, Json]], object]


def transform_of(name: str, examples: ExampleSet) -> Transform:
    """The change that a name means; what it gives keeps the id of the example it is made from.

    Args:
        name: `brightness:+0.2`, any axis of `explain perturb` and its value; or an entry point
            `package.module:function` that takes (input, label, metadata) to the same.
        examples: The data set.

    Raises:
        UsageError: neither, or it does not fit the data set.
    """
    axis, _, amount = name.rpartition(":")
    value = _number(amount)
    if axis and value is not None:
        change = axis_of(axis, examples)
        return lambda example: _with_input(example, change.apply(example, value)[0])
    function = resolve(name, "transform")
    if not callable(function):
        raise UsageError(f"transform {name} is {kind_of(function)}, expected a function.")
    own = cast("UserFunction", function)
    return lambda example: _by_hand(example, own, name, examples)


def _by_hand(example: Example, function: UserFunction, name: str, examples: ExampleSet) -> Example:
    try:
        found = function(example.input.clone(), example.label, dict(example.metadata))
    except Exception as error:  # the user's code may raise anything
        raise UsageError(
            f"transform {name} fails on example {example.id} ({type(error).__name__}: {error})."
        ) from error
    if not isinstance(found, tuple | list) or len(found) != TRIPLE:
        raise UsageError(
            f"transform {name} does not return (input, label, metadata) for {example.id}."
        )
    changed = examples.checked(found, example.index)
    return replace(changed, id=example.id)


def _with_input(example: Example, values: torch.Tensor) -> Example:
    return replace(example, input=values, digest=input_digest(values))


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
