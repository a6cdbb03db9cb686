"""Pictures in characters, for what shows no colours; at most 24 a side."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from telemetry.explain.pictures.colours import Bytes, Floats
from telemetry.json_values import Json

SIDE = 24
LEVELS = " .:-=+*#%@"  # from dark to light
BYTES = 256
NOTABLE = 0.2  # of the largest value: what is less has no sign
NOTHING = "."

Mask = npt.NDArray[np.bool_]


def sign_lines(values: Floats) -> list[Json]:
    """A signed map: `+`, `-`, and `.` for what is small.

    Args:
        values: Height x width; neighbours that share a character are added up.
    """
    sums = _blocks(np.nan_to_num(values)).sum((1, 3))
    limit = NOTABLE * float(np.abs(sums).max())
    signs = np.where(np.abs(sums) <= limit, NOTHING, np.where(sums > 0, "+", "-"))
    return _joined(signs)


def mask_lines(masks: Sequence[tuple[str, Mask]]) -> list[Json]:
    """Masks of one shape, a character each, later ones over earlier ones; `.` is in none."""
    places = [
        (character, _blocks(mask.astype(np.float64)).any((1, 3))) for character, mask in masks
    ]
    shown = np.full(places[0][1].shape, NOTHING)
    for character, mask in places:
        shown[mask] = character
    return _joined(shown)


def level_lines(picture: Bytes) -> list[Json]:
    """How light a picture is, from ` ` for dark to `@` for light.

    Args:
        picture: Height x width x 3.
    """
    shares = _blocks(picture.mean(2)).mean((1, 3)) / BYTES
    return _joined(np.array(list(LEVELS))[(shares * len(LEVELS)).astype(int)])


def _blocks(values: Floats) -> Floats:
    """Squares that share a character, shape (rows, side, columns, side); zeros fill the last."""
    height, width = values.shape
    step = -(-max(height, width) // SIDE)
    padded = np.pad(values, ((0, -height % step), (0, -width % step)))
    return padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)


def _joined(characters: npt.NDArray[np.str_]) -> list[Json]:
    return ["".join(line) for line in characters.tolist()]
