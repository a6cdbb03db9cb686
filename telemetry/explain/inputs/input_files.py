"""Inputs that lie in files of their own and not in a data set."""

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from telemetry.capture.tensors.predictions import input_digest
from telemetry.errors import UsageError
from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, Example, ExampleSet
from telemetry.explain.inputs.stated import stated
from telemetry.explain.inputs.unit_scale import UnitScale
from telemetry.explain.inputs.vocabulary import encoded

WHITE = 255
NO_PLACE = -1  # in a data set
MOST_NAMES = 5  # of a message
MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # by channels


def is_input_file(name: str) -> bool:
    """Whether a text names a file of a known kind that is there; else it is an example's id."""
    return Path(name).suffix.lower() in READERS and Path(name).is_file()


def read_example(path: str | Path, examples: ExampleSet, label: str | None = None) -> Example:
    """An example of an input in a file; its id is the digest of the input.

    Args:
        path: See `read_input`.
        examples: The data set of the model, in which it need not be.
        label: The true class or number; None: not known.

    Raises:
        UsageError: see `read_input`.
    """
    path = Path(path)
    values = read_input(path, examples)
    digest = input_digest(values)
    return Example(
        index=NO_PLACE,
        id=digest,
        digest=digest,
        input=values,
        label=None if label is None else _label(label, examples.classes),
        metadata={},
        file=path.name,
    )


def read_input(path: Path, examples: ExampleSet) -> Tensor:
    """An input of the kind that a data set has, read without running what a file may hold.

    Pictures are brought to the range of values of the data set and normalised as it is; arrays
    (.npy, .pt) and lists (.json) are taken as they are. A row (.json) may name its columns. The
    words of a text (.txt), split at white space, become tokens by `encode(words)` of the data set.

    Args:
        path: A .npy, .pt, .png, .jpg, .json or .txt file.
        examples: Says which shape, type and range are right.

    Raises:
        UsageError: the file cannot be read, or holds something else than such an input.
    """
    values = _read(path, examples)
    first = examples.example(0).input
    complaint = _misfit(values, first)
    if complaint is not None:
        raise UsageError(f"{path}: {complaint}.")
    values = values.to(first.dtype)
    _check_values(path, values, examples)
    return values


def _read(path: Path, examples: ExampleSet) -> Tensor:
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path}: unknown kind of file; use {', '.join(READERS)}.")
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file.")
    try:
        return reader(path, examples)
    except UsageError:
        raise
    except Exception as error:  # readers of foreign files raise anything
        raise UsageError(
            f"{path}: cannot be read as an input ({type(error).__name__}): the file is "
            "incomplete, or is not a single plain array of numbers."
        ) from error


def _misfit(values: Tensor, first: Tensor) -> str | None:
    """Why values cannot be an input such as the first of a data set; None: they can."""
    shape, expected = tuple(values.shape), tuple(first.shape)
    if not values.numel():
        return "is empty"
    if values.is_complex():
        return "contains complex numbers"
    if first.is_floating_point():
        return None if shape == expected else f"shape {shape}, expected {expected}"
    if values.is_floating_point():
        return "contains fractions, expected tokens"
    if len(shape) != len(expected):
        return f"shape {shape}, expected such as {expected}"
    return None


def _check_values(path: Path, values: Tensor, examples: ExampleSet) -> None:
    if not bool(torch.isfinite(values).all()):
        raise UsageError(f"{path}: contains values that are not finite.")
    complaint = examples.outside_range(values) if values.is_floating_point() else None
    if complaint is not None:
        raise UsageError(f"{path}: {complaint}.")


def _label(text: str, classes: tuple[str, ...]) -> int | float | str:
    """A class by its name, else a number, else the text, which is refused where it is used."""
    if text in classes:
        return text
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _array(path: Path, _examples: ExampleSet) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))


def _tensor(path: Path, _examples: ExampleSet) -> Tensor:
    found = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(found, Tensor):
        raise TypeError(type(found))
    return found.detach()


def _listed(path: Path, examples: ExampleSet) -> Tensor:
    found = json.loads(path.read_text("utf-8"))
    if not isinstance(found, Mapping):
        return torch.tensor(found)
    names = examples.element_names(examples.example(0).input)
    lacking = [name for name in names if name not in found]
    strange = [name for name in found if name not in names]
    for complaint, some in (("lacks", lacking), ("has the unknown", strange)):
        if some:
            raise UsageError(f"{path}: {complaint} columns {', '.join(some[:MOST_NAMES])}.")
    return torch.tensor([found[name] for name in names])


def _text(path: Path, examples: ExampleSet) -> Tensor:
    if not callable(stated(examples.source, "encode")):
        raise UsageError(
            f"{path}: data set {examples.name} has no encode(words) -> tokens; add it, or write "
            "the tokens as a .json list."
        )
    words = path.read_text("utf-8").split()
    if not words:
        raise UsageError(f"{path}: is empty.")
    try:
        return encoded(words, examples)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from error


def _picture(path: Path, examples: ExampleSet) -> Tensor:
    first = examples.example(0).input
    if first.dim() != IMAGE_DIMENSIONS:
        raise UsageError(f"{path}: is an image, but inputs have shape {tuple(first.shape)}.")
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)  # no picture is that large
        with Image.open(path) as picture:
            height, width = first.shape[1:]
            if picture.size != (width, height):  # before anything is unpacked
                raise UsageError(
                    f"{path}: {picture.width} x {picture.height} pixels, expected {width} x "
                    f"{height}; resize it as the training did."
                )
            if picture.mode.startswith(("I", "F")):
                raise UsageError(f"{path}: more than 8 bits a channel; save its values as .npy.")
            pixels = np.array(picture.convert(MODES[first.shape[0]]))
    unit = torch.from_numpy(pixels).float() / WHITE
    unit = unit[None] if first.shape[0] == 1 else unit.permute(2, 0, 1)
    return UnitScale.of(examples).input(unit, torch.float32)


READERS: dict[str, Callable[[Path, ExampleSet], Tensor]] = {
    ".npy": _array,
    ".pt": _tensor,
    ".json": _listed,
    ".txt": _text,
    ".png": _picture,
    ".jpg": _picture,
    ".jpeg": _picture,
}
