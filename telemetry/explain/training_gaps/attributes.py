"""What can be measured of an example without a model: how bright, how long, how large.

Images are measured in shares of the range of values of the training set, before normalisation.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, Example, ExampleSet, Modality
from telemetry.explain.inputs.image_changes import RGB, to_hsv
from telemetry.explain.inputs.unit_scale import UnitScale

Floats = npt.NDArray[np.float64]
Values = Mapping[str, float]

HUE = "hue"  # degrees; measured from the mean hue of training
GREY = 1e-3  # mean saturation below which an image has no hue
MOST_KEYS = 32  # of metadata
UNKNOWN = re.compile(r"[<\[]unk(nown)?[>\]]", re.IGNORECASE)  # as vocabularies name what they lack
LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def measured(train: ExampleSet, test: ExampleSet) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Attributes of two data sets by name, an array of one value an example each.

    An attribute that an example does not have is NaN. Numbers of the metadata are attributes too,
    by the names `m_<key>`.
    """
    scale = UnitScale.of(train)
    words = _words(train)
    training = [_values(e, train, scale, words, inside=1) for e in train.examples()]
    testing = [_values(e, train, scale, words, inside=0) for e in test.examples()]
    names = _names(training, testing)
    columns = (_columns(training, names), _columns(testing, names))
    if HUE in names:
        _centre(*(found[HUE] for found in columns))
    return columns


def image_values(unit: Tensor) -> dict[str, float]:
    """Attributes of an image of values from 0 to 1, channels x height x width."""
    grey = unit.double().mean(0)
    found = {
        "brightness": float(grey.mean()),
        "contrast": float(grey.std(correction=0)),
        "sharpness": _sharpness(grey),
        "height": float(unit.shape[1]),
        "width": float(unit.shape[2]),
        "aspect": unit.shape[2] / unit.shape[1],
    }
    if unit.shape[0] == RGB:
        hue, saturation, value = to_hsv(unit.double())
        found["saturation"] = float(saturation.mean())
        weight, angle = saturation * value, 2 * math.pi * hue
        mean = math.atan2(float((weight * angle.sin()).sum()), float((weight * angle.cos()).sum()))
        is_coloured = found["saturation"] > GREY
        found[HUE] = math.degrees(mean) if is_coloured else math.nan
    return found


def _sharpness(grey: Tensor) -> float:
    """Variance of the Laplacian; NaN for an image of fewer than three pixels a side."""
    if min(grey.shape) < len(LAPLACIAN):
        return math.nan
    edges = functional.conv2d(grey[None, None], LAPLACIAN.double()[None, None])
    return float(edges.var(correction=0))


def _values(
    example: Example, train: ExampleSet, scale: UnitScale, words: Counter[int], *, inside: int
) -> Values:
    """Attributes of one example.

    Args:
        example: Whose.
        train: Names its columns.
        scale: Of images.
        words: How many training texts have a token.
        inside: 1 for a training text, which is not counted among the others.
    """
    found: dict[str, float] = {}
    if train.modality is Modality.IMAGE and example.input.dim() == IMAGE_DIMENSIONS:
        found |= image_values(scale.unit(example.input))
    elif train.modality is Modality.TEXT:
        found |= _text_values(example.input.flatten(), train, words, inside)
    elif example.input.dim() == 1:
        names = train.element_names(example.input)
        found |= dict(zip(names, _plain(example.input, train), strict=True))
    else:  # signals and other arrays
        values = example.input.double()
        found |= {"mean": float(values.mean()), "deviation": float(values.std(correction=0))}
        found["length"] = float(values.shape[-1]) if values.dim() else 1.0
    for key, value in list(example.metadata.items())[:MOST_KEYS]:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[f"m_{key}"] = float(value)
    return found


def _text_values(
    tokens: Tensor, train: ExampleSet, words: Counter[int], inside: int
) -> dict[str, float]:
    """Length without padding, and the share of tokens that training does not know."""
    names = train.tokens(tokens)
    known = [
        (token, name)
        for token, name in zip(tokens.tolist(), names, strict=True)
        if token != train.pad_id
    ]
    strange = sum(words[token] <= inside or bool(UNKNOWN.fullmatch(name)) for token, name in known)
    share = strange / len(known) if known else math.nan
    return {"length": float(len(known)), "unknown tokens": share}


def _plain(row: Tensor, train: ExampleSet) -> list[float]:
    mean, deviation = train.normalisation
    plain = row if mean is None or deviation is None else row * deviation + mean
    return [float(value) for value in plain]


def _words(train: ExampleSet) -> Counter[int]:
    found: Counter[int] = Counter()
    if train.modality is Modality.TEXT:
        for example in train.examples():
            found.update(set(example.input.flatten().tolist()))
    return found


def _names(*sides: Iterable[Values]) -> list[str]:
    """Attributes that both sides have, in the order of the first."""
    known = [dict.fromkeys(name for values in side for name in values) for side in sides]
    return [name for name in known[0] if name in known[1]]


def _columns(rows: Sequence[Values], names: Sequence[str]) -> dict[str, Floats]:
    return {
        name: np.array([row.get(name, math.nan) for row in rows], dtype=np.float64)
        for name in names
    }


def _centre(train: Floats, test: Floats) -> None:
    """Turn hues so that the mean of training is zero: a circle has no ends otherwise."""
    known = np.radians(train[np.isfinite(train)])
    middle = math.degrees(math.atan2(np.sin(known).sum(), np.cos(known).sum()))
    for values in (train, test):
        values[:] = (values - middle + 180) % 360 - 180
