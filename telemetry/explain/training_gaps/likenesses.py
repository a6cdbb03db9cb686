"""Test examples that training has already: the same inputs, and nearly the same.

Two inputs are nearly the same where they are closer than chance puts two of their kind: among the
ten nearest of a point, distances grow as a power of the dimension, so the nearest one may be only
so much nearer than the tenth.

Source: Facco, d'Errico, Rodriguez and Laio, Scientific Reports 2017, for the law of the ratio.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Places = npt.NDArray[np.int64]
Text = tuple[int, ...]

NEAREST = 10
HALF = 5  # the ratio of the tenth distance to the fifth tells the dimension
CHANCE = 0.01  # of any pair by chance
BLOCK = 512  # rows whose distances are in memory at once
MOST_ROWS = 20_000  # of a set, that are compared by distance
LEAST_TOKENS = 8  # of a text; shorter ones are alike by chance
USUAL = 0.05  # share of training texts with a near copy, from which copies are how they are made


def same_inputs(train: Sequence[str], test: Sequence[str]) -> Places:
    """Place of the same input in training, by its digest, of each test example; -1: none."""
    known = {digest: place for place, digest in reversed(list(enumerate(train)))}
    return np.array([known.get(digest, -1) for digest in test], dtype=np.int64)


def near_vectors(train: Tensor, test: Tensor) -> Places:
    """Place of a training row that is nearly a test row; -1: none is closer than chance puts it.

    Args:
        train: Shape (n_train, n_features), of one scale.
        test: Shape (n_test, n_features).
    """
    known, asked = train[:MOST_ROWS].float(), test[:MOST_ROWS].float()
    found = np.full(len(test), -1, dtype=np.int64)
    if len(known) <= 2 * NEAREST:
        return found
    sample = known[:: max(1, len(known) // BLOCK)][:BLOCK]
    own, _ = _nearest(sample, known, NEAREST + 1)  # the first is the row itself
    dimension = _dimension(own[:, 1:])
    if dimension is None:
        return found
    distances, places = _nearest(asked, known, NEAREST)
    last = distances[:, -1]
    ratio = torch.where(last > 0, distances[:, 0] / last.clamp_min(1e-30), torch.ones_like(last))
    chance = -torch.expm1((NEAREST - 1) * torch.log1p(-ratio.double().pow(dimension)))
    is_near = (chance <= CHANCE / len(test)).numpy()
    found[: len(asked)][is_near] = places[:, 0].numpy()[is_near]
    return found


def _nearest(rows: Tensor, reference: Tensor, k: int) -> tuple[Tensor, Tensor]:
    parts = [
        torch.cdist(
            rows[start : start + BLOCK], reference, compute_mode="donot_use_mm_for_euclid_dist"
        ).topk(k, dim=1, largest=False)
        for start in range(0, len(rows), BLOCK)
    ]
    return torch.cat([part.values for part in parts]), torch.cat([part.indices for part in parts])


def _dimension(distances: Tensor) -> float | None:
    """Of the points near a point; None: too many are equal to tell."""
    fifth, tenth = distances[:, HALF - 1], distances[:, NEAREST - 1]
    is_apart = (fifth > 0) & (tenth > fifth)
    if int(is_apart.sum()) * 2 < len(distances):
        return None
    growth = float((tenth[is_apart] / fifth[is_apart]).log().median())
    return math.log(NEAREST / HALF) / growth


def near_texts(train: Sequence[Text], test: Sequence[Text]) -> Places:
    """Place of a training text that a test text is, or is but for one token; -1: none.

    Where many training texts are so alike, as where templates made them, only the same text counts.
    """
    whole = {text: place for place, text in reversed(list(enumerate(train)))}
    parts: dict[Text, int] = {}
    counts: Counter[Text] = Counter()
    for place, text in enumerate(train):
        for part in set(_parts(text)):
            parts.setdefault(part, place)
            counts[part] += 1
    n_alike = sum(any(counts[part] > 1 for part in _parts(text)) for text in train)
    is_usual = n_alike > USUAL * len(train)
    return np.array(
        [_near_text(text, whole, {} if is_usual else parts) for text in test], dtype=np.int64
    )


def _near_text(text: Text, whole: dict[Text, int], parts: dict[Text, int]) -> int:
    if len(text) < LEAST_TOKENS:
        return -1
    if text in whole:
        return whole[text]
    return next((parts[part] for part in _parts(text) if part in parts), -1)


def _parts(text: Text) -> list[Text]:
    """The text with a gap in the place of each token."""
    if len(text) < LEAST_TOKENS:
        return []
    return [(*text[:place], -1, *text[place + 1 :]) for place in range(len(text))]
