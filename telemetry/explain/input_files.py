"""Inputs that lie in files of their own and not in a data set."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from telemetry.errors import UsageError
from telemetry.explain.examples import IMAGE_DIMENSIONS, ExampleSet
from telemetry.explain.unit_scale import UnitScale

WHITE = 255


def is_input_file(name: str) -> bool:
    """Whether a text names a file of a known kind that is there; else it is an example's id."""
    return Path(name).suffix.lower() in READERS and Path(name).is_file()


def read_input(path: Path, examples: ExampleSet) -> Tensor:
    """An input of the kind that a data set has, read without running what a file may hold.

    Pictures are brought to the range of values of the data set and normalised as it is; arrays
    (.npy, .pt) and lists (.json) are taken as they are.

    Args:
        path: A .npy, .pt, .png, .jpg or .json file.
        examples: Says which shape, type and range are right.

    Raises:
        UsageError: the file cannot be read, or holds something else than such an input.
    """
    first = examples.example(0).input
    try:
        values = READERS[path.suffix.lower()](path, examples)
    except Exception as error:  # readers of foreign files raise anything
        raise UsageError(f"{path}: cannot be read as an input ({type(error).__name__}).") from error
    if first.is_floating_point():
        values = values.to(first.dtype)
        if tuple(values.shape) != tuple(first.shape):
            raise UsageError(f"{path}: shape {tuple(values.shape)}, expected {tuple(first.shape)}.")
    elif values.is_floating_point():
        raise UsageError(f"{path}: holds fractions, expected tokens.")
    _check_values(path, values, examples)
    return values


def _check_values(path: Path, values: Tensor, examples: ExampleSet) -> None:
    if not bool(torch.isfinite(values).all()):
        raise UsageError(f"{path}: holds values that are not finite.")
    complaint = examples.outside_range(values) if values.is_floating_point() else None
    if complaint is not None:
        raise UsageError(f"{path}: {complaint}.")


def _array(path: Path, _examples: ExampleSet) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))


def _tensor(path: Path, _examples: ExampleSet) -> Tensor:
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, Tensor):
        raise TypeError(type(found))
    return found


def _listed(path: Path, _examples: ExampleSet) -> Tensor:
    return torch.tensor(json.loads(path.read_text("utf-8")))


def _picture(path: Path, examples: ExampleSet) -> Tensor:
    first = examples.example(0).input
    if first.dim() != IMAGE_DIMENSIONS:
        raise TypeError(first.shape)
    with Image.open(path) as picture:
        pixels = np.array(picture.convert("L" if first.shape[0] == 1 else "RGB"))
    unit = torch.from_numpy(pixels).float() / WHITE
    unit = unit[None] if first.shape[0] == 1 else unit.permute(2, 0, 1)
    return UnitScale.of(examples).input(unit, torch.float32)


READERS: dict[str, Callable[[Path, ExampleSet], Tensor]] = {
    ".npy": _array,
    ".pt": _tensor,
    ".json": _listed,
    ".png": _picture,
    ".jpg": _picture,
    ".jpeg": _picture,
}
