"""Colours of maps. Signed ones: blue speaks for, orange against, white is nothing.

Both ends are told apart by every kind of colour vision; sign alone is not carried by lightness, so
numbers stand beside the picture. The map is interpolated in CIELAB, symmetric around zero.
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
RGB = tuple[int, int, int]  # of a colour

AGAINST, NEUTRAL, FOR = "#B35806", "#F7F7F7", "#2166AC"  # ColorBrewer's PuOr and RdBu
HALF = 128  # entries on each side of the neutral one
SCALE_PERCENTILE = 99
# sRGB to XYZ for the white point D65, IEC 61966-2-1.
TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
WHITE = TO_XYZ.sum(axis=1)
EQUAL_CONTRAST = 0.179  # luminance on which black and white are equally readable (WCAG 2.1)
LINEAR_BELOW, KAPPA, EPSILON = 0.04045, 24389 / 27, 216 / 24389


# Ten colours of cividis (Nunez, Anderton and Renslow 2018, PLOS ONE 13(7): e0199239).
CIVIDIS = (
    "#00224E",
    "#123570",
    "#3B496C",
    "#575D6D",
    "#707173",
    "#8A8678",
    "#A59C74",
    "#C3B369",
    "#E1CC55",
    "#FEE838",
)
UNSIGNED_ENTRIES = 256


@cache
def unsigned_table() -> Bytes:
    """The map from 0 to 1, shape (256, 3), dark to light: cividis."""
    places = np.linspace(0, len(CIVIDIS) - 1, UNSIGNED_ENTRIES)
    colours = np.stack([_lab(colour) for colour in CIVIDIS])
    known = np.arange(len(CIVIDIS))
    return _from_lab(np.stack([np.interp(places, known, axis) for axis in colours.T], axis=1))


def unsigned_colours(values: Floats, scale: float) -> Bytes:
    """Colours of values from 0 to a scale, shape (*values, 3); what is not finite is dark."""
    shares = np.zeros_like(values) if scale <= 0 else np.clip(values / scale, 0, 1)
    places = np.rint(np.nan_to_num(shares) * (UNSIGNED_ENTRIES - 1)).astype(int)
    colours: Bytes = unsigned_table()[places]
    return colours


@cache
def signed_table() -> Bytes:
    """The map from -1 to 1, shape (257, 3); entry 128 is neutral."""
    ends = [_lab(colour) for colour in (AGAINST, NEUTRAL, FOR)]
    steps = np.linspace(0, 1, HALF + 1)[:, None]
    low = ends[0] + (ends[1] - ends[0]) * steps
    high = ends[1] + (ends[2] - ends[1]) * steps
    return _from_lab(np.concatenate([low, high[1:]]))


def ends() -> Bytes:
    """Against, neutral and for, shape (3, 3)."""
    return signed_table()[[0, HALF, -1]]


def signed_scale(values: Floats) -> float:
    """What the ends of the map stand for: the 99th percentile of the absolute values."""
    finite = np.abs(values[np.isfinite(values)])
    return float(np.percentile(finite, SCALE_PERCENTILE)) if finite.size else 0.0


def signed_colours(values: Floats, scale: float) -> Bytes:
    """Colours of values, shape (*values, 3); what is not finite is neutral.

    Args:
        values: Any shape.
        scale: Value of the ends; 0: everything is neutral.
    """
    shares = np.zeros_like(values) if scale <= 0 else np.clip(values / scale, -1, 1)
    places = np.rint(np.nan_to_num(shares) * HALF).astype(int) + HALF
    colours: Bytes = signed_table()[places]
    return colours


def ink_on(colour: Sequence[int]) -> RGB:
    """Black or white, whichever is more readable on a colour of three bytes."""
    shares = np.asarray(colour, dtype=np.float64) / 255
    luminance = float(TO_XYZ[1] @ _linear(shares))
    return (0, 0, 0) if luminance > EQUAL_CONTRAST else (255, 255, 255)


def ends_rgb() -> tuple[RGB, RGB, RGB]:
    """Against, neutral and for, each as three numbers."""
    against, neutral, speaks_for = ((red, green, blue) for red, green, blue in ends().tolist())
    return against, neutral, speaks_for


def hexadecimal(colours: Bytes) -> list[list[str]]:
    """Rows of `#rrggbb` of an image of shape (height, width, 3)."""
    return [["#{:02x}{:02x}{:02x}".format(*pixel) for pixel in row] for row in colours.tolist()]


def _lab(colour: str) -> Floats:
    rgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    xyz = TO_XYZ @ _linear(rgb) / WHITE
    f = np.where(xyz > EPSILON, np.cbrt(xyz), (KAPPA * xyz + 16) / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def _linear(rgb: Floats) -> Floats:
    return np.asarray(np.where(rgb <= LINEAR_BELOW, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4))


def _from_lab(lab: Floats) -> Bytes:
    fy = (lab[:, 0] + 16) / 116
    f = np.stack([fy + lab[:, 1] / 500, fy, fy - lab[:, 2] / 200], axis=1)
    xyz = np.where(f**3 > EPSILON, f**3, (116 * f - 16) / KAPPA) * WHITE
    linear = np.clip(xyz @ np.linalg.inv(TO_XYZ).T, 0, 1)
    low = linear <= LINEAR_BELOW / 12.92
    rgb = np.where(low, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(rgb * 255), dtype=np.uint8)
