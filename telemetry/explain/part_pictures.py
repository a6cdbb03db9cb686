"""Pictures of what the parts of one input contribute: over an image, in a text, of a table's row.

Colours do not carry the sign in print without colour, so signed numbers stand in every picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from telemetry.explain.colours import ink_on, signed_colours, signed_scale
from telemetry.explain.draw import (
    GAP,
    PANEL,
    PAPER,
    Bytes,
    Floats,
    enlarged,
    grey_picture,
    over_grey,
    page_png,
    png,
)
from telemetry.explain.lettering import LINE, can_draw, folded, length, shortened, write

NUMBERED = 5  # parts whose numbers stand in a picture of an image
WIDTH = 760  # of a text or a table
PAD = 4
NAME_WIDTH = 260
INK, BOUND = (0, 0, 0), (96, 96, 96)
BARS = 20  # columns of a table that are drawn
Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Valued:
    """A part of an input and its value.

    Attributes:
        name: What it is called.
        value: Its contribution to the score.
        paint: What its colour stands for; positive is blue.
        place: Of a token: where in the text it stands.
        box: Where it lies in an image.
    """

    name: str
    value: float
    paint: float
    place: str = ""
    box: Box | None = None


def signed(value: float) -> str:
    """A number whose sign is always written."""
    return f"{value:+.2g}"


def image_png(
    flat: Floats, image: Tensor, parts: Sequence[Valued], caption: str, identity: str
) -> bytes:
    """Input, map over the input, and map with the numbers of its largest parts; a PNG.

    Args:
        flat: What the colour of each pixel stands for, height x width; positive is blue.
        image: The input, channels x height x width.
        parts: Those whose numbers are written, the largest first.
        caption: What is written below.
        identity: Kept in the file, so that it finds its row.
    """
    colours = signed_colours(flat, signed_scale(flat))
    numbered = _numbered(colours, parts[:NUMBERED])
    largest = ", ".join(f"{part.name} {signed(part.value)}" for part in parts[:NUMBERED])
    panels = [enlarged(p, PANEL) for p in (grey_picture(image), over_grey(image, colours))]
    return page_png([*panels, numbered], f"{caption}; largest: {largest}", identity)


def text_png(tokens: Sequence[Valued], caption: str, identity: str) -> bytes:
    """The tokens of a text in their colours, each over its signed number; a PNG.

    A token that the font cannot draw is named by its place: the terminal and the page have it.
    """
    scale = max((abs(token.paint) for token in tokens), default=0.0)
    painted = signed_colours(np.array([token.paint for token in tokens]), scale)
    words = [
        shortened(token.name if can_draw(token.name) else f"#{token.place}", WIDTH // 3)
        for token in tokens
    ]
    numbers = [signed(token.value) for token in tokens]
    widths = [max(length(w), length(n)) + 2 * PAD for w, n in zip(words, numbers, strict=True)]
    places = list(_flowing(widths, WIDTH - GAP))
    unknown = any(not can_draw(token.name) for token in tokens)
    note = "; #N: token N, in letters that a picture lacks" if unknown else ""
    lines = folded(caption + note, WIDTH - 2 * GAP)
    height = max((top for _, top in places), default=GAP) + 2 * LINE + GAP
    page = Image.new("RGB", (WIDTH, height + LINE * len(lines) + GAP), PAPER)
    pen = ImageDraw.Draw(page)
    for (left, top), width, word, number, colour in zip(
        places, widths, words, numbers, painted.tolist(), strict=True
    ):
        pen.rectangle((left, top, left + width - 2, top + LINE), fill=tuple(colour), outline=BOUND)
        write(pen, (left + PAD, top + 1), [word], ink_on(colour))
        write(pen, (left + PAD, top + LINE + 1), [number])
    write(pen, (GAP, height), lines)
    return png(page, identity)


def table_png(columns: Sequence[Valued], caption: str, identity: str) -> bytes:
    """Bars of the columns that contribute most, to both sides of zero, with numbers; a PNG."""
    order = sorted(columns, key=lambda column: -abs(column.value))
    shown = order[:BARS]
    scale = max((abs(column.paint) for column in shown), default=0.0)
    painted = signed_colours(np.array([column.paint for column in shown]), scale)
    left, number_width = NAME_WIDTH + 2 * GAP, 64
    half = (WIDTH - left - GAP) // 2 - number_width
    middle = left + number_width + half
    rest = len(order) - len(shown)
    note = f"; {rest} columns of less are left out" if rest else ""
    lines = folded(caption + note, WIDTH - 2 * GAP)
    height = GAP + LINE * (len(shown) + 1)
    page = Image.new("RGB", (WIDTH, height + LINE * len(lines) + GAP), PAPER)
    pen = ImageDraw.Draw(page)
    for row, (column, colour) in enumerate(zip(shown, painted.tolist(), strict=True)):
        top = GAP + row * LINE
        name = shortened(column.name, NAME_WIDTH)
        write(pen, (left - GAP - length(name), top), [name])
        end = middle + round(half * column.value / max(abs(c.value) for c in shown) if scale else 0)
        box = (min(middle, end), top + 2, max(middle, end), top + LINE - 4)
        pen.rectangle(box, fill=tuple(colour), outline=BOUND)
        number = signed(column.value)
        at = end + PAD if column.value >= 0 else end - PAD - length(number)
        write(pen, (at, top), [number])
    pen.line((middle, GAP, middle, height - LINE), fill=INK)
    write(pen, (GAP, height), lines)
    return png(page, identity)


def _numbered(colours: Bytes, parts: Sequence[Valued]) -> Bytes:
    """The enlarged map; in the middle of each part its number, where no other one stands."""
    shown = enlarged(colours, PANEL)
    factor = shown.shape[0] // colours.shape[0]
    panel = Image.fromarray(shown)
    pen = ImageDraw.Draw(panel)
    taken: list[Box] = []
    for part in parts:
        if part.box is None:
            continue
        number = signed(part.value)
        width, (y0, x0, y1, x1) = length(number) + PAD, part.box
        left = min(max(0, (x0 + x1) * factor // 2 - width // 2), panel.width - width)
        top = min(max(0, (y0 + y1) * factor // 2 - LINE // 2), panel.height - LINE)
        plate = (left, top, left + width, top + LINE - 2)
        pen.rectangle((x0 * factor, y0 * factor, x1 * factor - 1, y1 * factor - 1), outline=BOUND)
        if any(_meet(plate, other) for other in taken):
            continue
        taken.append(plate)
        pen.rectangle(plate, fill=PAPER)
        write(pen, (left + PAD // 2, top), [number])
    return np.asarray(panel, dtype=np.uint8)


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _flowing(widths: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Upper left corners of boxes set like words, two lines of text high."""
    left, top = GAP, GAP
    for width in widths:
        if left > GAP and left + width > most:
            left, top = GAP, top + 2 * LINE + GAP
        yield left, top
        left += width + PAD
