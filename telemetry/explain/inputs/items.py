"""The parts of an item of a data set, read and checked: input, label, metadata."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.inputs.stated import (
    metadata_value,
    no_input,
    no_label,
    no_metadata,
    unwrapped,
)
from telemetry.json_values import Json


def input_of(value: object, place: str) -> Tensor:
    """The numbers of an input.

    Args:
        value: What the data set gives.
        place: What it is called in messages.

    Raises:
        UsageError: it is no tensor and no array.
    """
    try:
        return torch.as_tensor(value).detach().cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise UsageError(f"{place} is {no_input(value)}.") from error


def label_of(value: object, place: str) -> int | float | str:
    """A class, its name, or a finite number; arguments as for `input_of`.

    Raises:
        UsageError: it is none of these.
    """
    value = unwrapped(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str | int):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise UsageError(f"{place} is {no_label(value)}.")


def metadata_of(value: object, place: str) -> Mapping[str, Json]:
    """Metadata of an example; takes the same arguments as `input_of`.

    Raises:
        UsageError: it is no dictionary.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UsageError(f"{place} is {no_metadata(value)}.")
    return {str(key): metadata_value(entry) for key, entry in value.items()}
