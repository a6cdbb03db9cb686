"""What all answers of `python -m telemetry.explain` have in common."""

from telemetry.explain.checks import Check
from telemetry.explain.colours import Bytes
from telemetry.json_values import Json

GRID_SIDE = 64  # pixels of a picture on a terminal


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
