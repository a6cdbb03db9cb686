"""What all answers of `python -m telemetry.explain` have in common."""

import numpy as np

from telemetry.explain.checks import Check
from telemetry.explain.colours import Bytes, Floats
from telemetry.json_values import Json

GRID_SIDE = 64  # pixels of a picture on a terminal
SIGN_SIDE = 24  # characters of a picture without colours
NOTABLE = 0.2  # of the largest value: what is less has no sign


def check_json(check: Check) -> dict[str, Json]:
    """One check of an answer."""
    return {
        "name": check.name,
        "value": check.value,
        "threshold": check.threshold,
        "ok": check.ok,
        "meaning": check.meaning,
    }


def thinned(picture: Bytes) -> Bytes:
    """A picture of at most 64 pixels a side, height x width x 3, for a terminal."""
    step = -(-max(picture.shape[:2]) // GRID_SIDE)
    return picture[::step, ::step]


def sign_lines(values: Floats) -> list[Json]:
    """A signed map in characters: `+`, `-`, and `.` for what is small; at most 24 a side.

    Args:
        values: Height x width; neighbours that share a character are added up.
    """
    height, width = values.shape
    step = -(-max(height, width) // SIGN_SIDE)
    padded = np.pad(np.nan_to_num(values), ((0, -height % step), (0, -width % step)))
    rows, columns = padded.shape[0] // step, padded.shape[1] // step
    sums = padded.reshape(rows, step, columns, step).sum((1, 3))
    limit = NOTABLE * float(np.abs(sums).max())
    signs = np.where(np.abs(sums) <= limit, ".", np.where(sums > 0, "+", "-"))
    return ["".join(line) for line in signs.tolist()]
