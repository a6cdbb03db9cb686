"""Signs that nobody named: phrases of texts, and colours at the places of images."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from telemetry.explain.inputs.examples import IMAGE_DIMENSIONS, ExampleSet
from telemetry.explain.training_gaps.compared_columns import ComparedColumn, Flags, Floats
from telemetry.explain.training_gaps.likenesses import Text
from telemetry.explain.training_gaps.shortcuts import LEAST_TOLD, Sign, best_ranges
from telemetry.explain.training_gaps.sides import SMALL, Side

LONGEST = 5  # tokens of a phrase
MOST_TEXTS = 20_000  # of a set, whose phrases are counted
GRID = 6  # cells a side, by which parts of an image are called
NEARLY = 0.9  # of the texts with a phrase that have a longer one, which is then the phrase
MOST_CLASSES = 20  # the most frequent ones, whose colours are looked at
RIDGE = 1e-3  # of the mean variance of a colour


def phrases(
    train: Side, test: Side, labels: Sequence[str | None], examples: ExampleSet
) -> list[Sign]:
    """Phrases that at least three tenths of the texts of a class have.

    Of two phrases of the same texts the longer counts: its parts are found wherever it is.

    Args:
        train: Its texts.
        test: Its texts.
        labels: Of training.
        examples: Names tokens.
    """
    if not train.texts or not test.texts or len(train.texts) > MOST_TEXTS:
        return []
    kept: dict[Text, int] = {}
    usable: set[Text] = {()}
    for size in range(1, LONGEST + 1):
        found = _frequent(train.texts, labels, size, usable)
        for phrase, n in found.items():
            for part in (phrase[1:], phrase[:-1]):
                if n >= NEARLY * kept.get(part, math.inf):
                    del kept[part]
        kept |= found
        usable = set(found)
    return [_phrase_sign(phrase, train, test, examples) for phrase in sorted(kept)]


def _frequent(
    texts: Sequence[Text], labels: Sequence[str | None], size: int, usable: set[Text]
) -> dict[Text, int]:
    """Phrases that enough texts of a class have, with the number of texts that have them."""
    of_class = Counter(labels)
    counts = Counter(
        (label, phrase)
        for text, label in zip(texts, labels, strict=True)
        for phrase in set(_phrases(text, size, usable))
    )
    enough = {phrase for (label, phrase), n in counts.items() if n >= LEAST_TOLD * of_class[label]}
    found: Counter[Text] = Counter()
    for (_, phrase), n in counts.items():
        if phrase in enough:
            found[phrase] += n
    return found


def _phrases(text: Text, size: int, usable: set[Text]) -> list[Text]:
    """Those of a size whose beginning and end, one token shorter, are frequent."""
    found = (text[start : start + size] for start in range(len(text) - size + 1))
    return [one for one in found if one[:-1] in usable and (size == 1 or one[1:] in usable)]


def _phrase_sign(phrase: Text, train: Side, test: Side, examples: ExampleSet) -> Sign:
    words = examples.tokens(torch.tensor(phrase))
    has = [
        np.array([phrase in _every(text, len(phrase)) for text in side.texts], dtype=np.bool_)
        for side in (train, test)
    ]
    return Sign(title=f'"{" ".join(words)}"', train=has[0], test=has[1])


def _every(text: Text, size: int) -> set[Text]:
    return {text[start : start + size] for start in range(len(text) - size + 1)}


def colours(train: Side, test: Side, label: ComparedColumn, examples: ExampleSet) -> list[Sign]:
    """The colour at each place of images in small, along what tells each class from the others.

    Source: Fisher, Annals of Eugenics 1936, for the direction.
    """
    is_image = examples.several is None and examples.example(0).input.dim() == IMAGE_DIMENSIONS
    if not is_image or train.looks is None or test.looks is None:
        return []
    if train.looks.shape[1] != test.looks.shape[1]:
        return []
    sides = [
        side.reshape(len(side), -1, SMALL * SMALL).transpose(1, 2).double().numpy()
        for side in (train.looks, test.looks)
    ]
    truth = label.codes[0]
    counts = Counter(truth[truth >= 0].tolist())
    return [
        replace(sign, title=f"the colour at {_cell(place)}", n_tried=len(column.spans))
        for place in range(SMALL * SMALL)
        for level, _ in counts.most_common(MOST_CLASSES)
        for column in [_along(sides[0][:, place], sides[1][:, place], truth == level)]
        for sign in best_ranges(column, label, [level])
    ]


def _cell(place: int) -> str:
    step = SMALL // GRID
    return f"r{place // SMALL // step}c{place % SMALL // step}"


def _along(train: Floats, test: Floats, is_class: Flags) -> ComparedColumn:
    """Colours of both sets, (n, n_channels), along the direction that parts a class best."""
    own, rest = train[is_class], train[~is_class]
    within = (own - own.mean(0)).T @ (own - own.mean(0)) + (rest - rest.mean(0)).T @ (
        rest - rest.mean(0)
    )
    ridge = RIDGE * np.trace(within) / len(within) + np.finfo(np.float64).tiny
    apart = np.linalg.solve(within + ridge * np.eye(len(within)), own.mean(0) - rest.mean(0))
    return ComparedColumn(name="colour", train=train @ apart, test=test @ apart)
