"""Colours of a terminal that knows 256 of them: the nearest one that keeps its hue.

A pale orange that is shown as pink or as yellow would say something else, so a difference of hue
counts for more than one of chroma, and that for more than one of lightness.
"""

import math
from functools import cache

LEVELS = (0, 95, 135, 175, 215, 255)  # of each channel of the cube of xterm
FIRST_OF_CUBE, FIRST_OF_GREYS, GREYS = 16, 232, 24
HUE_WEIGHT, CHROMA_WEIGHT = 3.0, 1.5
LINEAR_BELOW = 0.04045

Lab = tuple[float, float, float]


@cache
def nearest(colour: str) -> int:
    """The number of the colour of xterm that looks most like `#rrggbb` and keeps its hue."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    wanted = _lab(red, green, blue)
    return min(_palette(), key=lambda entry: _difference(wanted, entry[1]))[0]


@cache
def _palette() -> tuple[tuple[int, Lab], ...]:
    """Number and place of the cube and the greys; the first sixteen are the user's own."""
    cube = [(red, green, blue) for red in LEVELS for green in LEVELS for blue in LEVELS]
    greys = [(8 + 10 * step,) * 3 for step in range(GREYS)]
    numbered = [
        *enumerate(cube, start=FIRST_OF_CUBE),
        *enumerate(greys, start=FIRST_OF_GREYS),
    ]
    return tuple((number, _lab(*rgb)) for number, rgb in numbered)


def _difference(one: Lab, other: Lab) -> float:
    """Square of the distance, its parts that are chroma and hue weighted."""
    chroma = math.hypot(*one[1:]) - math.hypot(*other[1:])
    plane = (one[1] - other[1]) ** 2 + (one[2] - other[2]) ** 2
    hue = max(plane - chroma**2, 0.0)
    light = one[0] - other[0]
    return light**2 + (CHROMA_WEIGHT * chroma) ** 2 + HUE_WEIGHT**2 * hue


def _lab(red: int, green: int, blue: int) -> Lab:
    """Oklab of an sRGB colour (Ottosson 2020)."""
    r, g, b = (_linear(channel / 255) for channel in (red, green, blue))
    long = math.cbrt(0.4122214708 * r + 0.5363325363 * g + 0.0514459929 * b)
    middle = math.cbrt(0.2119034982 * r + 0.6806995451 * g + 0.1073969566 * b)
    short = math.cbrt(0.0883024619 * r + 0.2817188376 * g + 0.6299787005 * b)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def _linear(share: float) -> float:
    return share / 12.92 if share <= LINEAR_BELOW else float(((share + 0.055) / 1.055) ** 2.4)
