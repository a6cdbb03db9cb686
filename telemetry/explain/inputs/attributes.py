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
from telemetry.explain.inputs.hue import RGB, to_hsv
from telemetry.explain.inputs.scripts import script_of
from telemetry.explain.inputs.surveys import words_of
from telemetry.explain.inputs.unit_scale import UnitScale

Floats = npt.NDArray[np.float64]
Values = Mapping[str, float]

HUE = "hue"  # degrees; measured from the mean hue of training
GREY = 1e-3  # mean saturation below which an image has no hue
MOST_KEYS = 32  # of metadata
RARE = 5  # texts of a set that have a word; fewer make it rare
SCRIPT, RARE_WORDS, UNKNOWN_TOKENS = "script", "rare words", "unknown tokens"
UNKNOWN = re.compile(r"[<\[]unk(nown)?[>\]]", re.IGNORECASE)  # as vocabularies name what they lack
LAPLACIAN = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]])


def measured(train: ExampleSet, test: ExampleSet) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Attributes of two data sets by name, an array of one value an example each.

    An attribute that an example does not have is NaN. Numbers of the metadata are attributes too,
    by the names `m_<key>`; one-hot codes are none, see `categories_of`.
    """
    scale = UnitScale.of(train)
    words = words_of(train)
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
        found |= text_values(example.input, train, words, inside)
    elif example.input.dim() == 1 and train.several is None:
        coded = {place for places in train.categorical.values() for place in places}
        named = zip(train.element_names(example.input), _plain(example.input, train), strict=True)
        found |= {name: value for place, (name, value) in enumerate(named) if place not in coded}
    else:  # signals and other arrays
        values = example.input.double()
        found |= {"mean": float(values.mean()), "deviation": float(values.std(correction=0))}
        found["length"] = float(values.shape[-1]) if values.dim() else 1.0
    for key, value in list(example.metadata.items())[:MOST_KEYS]:
        if isinstance(value, int | float) and not isinstance(value, bool):
            found[f"m_{key}"] = float(value)
    return found


def text_values(
    tokens: Tensor, examples: ExampleSet, words: Counter[int], inside: int
) -> dict[str, float]:
    """Length of what was written, and the shares of its tokens that are rare, or unknown.

    Args:
        tokens: A row.
        examples: Names its tokens.
        words: How many texts have a token.
        inside: 1 for one of these texts, which is not counted among the others.
    """
    known = _written(tokens, examples)
    if not known:
        return {"length": 0.0, RARE_WORDS: math.nan, UNKNOWN_TOKENS: math.nan}
    others = [words[token] - inside for token, _ in known]
    strange = [bool(UNKNOWN.fullmatch(name)) for _, name in known]
    n_rare = sum(n < RARE or odd for n, odd in zip(others, strange, strict=True))
    n_unknown = sum(n <= 0 or odd for n, odd in zip(others, strange, strict=True))
    return {
        "length": float(len(known)),
        RARE_WORDS: n_rare / len(known),
        UNKNOWN_TOKENS: n_unknown / len(known),
    }


def text_script(tokens: Tensor, examples: ExampleSet) -> str | None:
    """The script of a text, of data sets that name their tokens."""
    return script_of(name for _, name in _written(tokens, examples))


def _written(tokens: Tensor, examples: ExampleSet) -> list[tuple[int, str]]:
    """The tokens that somebody wrote, and what the data set calls them."""
    flat = tokens.flatten()
    written = examples.padding.is_text(flat).tolist()
    named = zip(flat.tolist(), examples.tokens(flat), written, strict=True)
    return [(token, name) for token, name, own in named if own]


def _plain(row: Tensor, train: ExampleSet) -> list[float]:
    mean, deviation = train.normalisation
    plain = row if mean is None or deviation is None else row * deviation + mean
    return [float(value) for value in plain]


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
