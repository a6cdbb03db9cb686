"""Small copies of pictures, for a terminal."""

from telemetry.explain.pictures.colours import Bytes

GRID_SIDE = 64  # pixels


def thinned(picture: Bytes) -> Bytes:
    """A picture of at most 64 pixels a side, height x width x 3, for a terminal."""
    step = -(-max(picture.shape[:2]) // GRID_SIDE)
    return picture[::step, ::step]
