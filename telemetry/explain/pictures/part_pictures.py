"""Pictures of what the parts of one input contribute: over an image, in a text, of a table's row.

Colours do not carry the sign in print without colour, so signed numbers stand in every picture.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from telemetry.explain.inputs.masks import Box
from telemetry.explain.pictures.colours import (
    RGB,
    hexadecimal,
    ink_on,
    signed_colours,
)
from telemetry.explain.pictures.draw import (
    GAP,
    PANEL,
    PAPER,
    Bytes,
    Row,
    fitted,
    over_grey,
    picture_of_input,
    png,
    sheet_png,
)
from telemetry.explain.pictures.lettering import LINE, can_draw, folded, length, shortened, write
from telemetry.json_values import Json

NUMBERED = 5  # parts whose numbers stand in a picture of an image
WIDTH = 760  # of a text or a table
PAD = 4
NAME_WIDTH = 260
INK, BOUND = (0, 0, 0), (96, 96, 96)
UNKNOWN = (200, 200, 200)  # of what has no certain sign
BARS = 20  # columns of a table that are drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Valued:
    """A part of an input and its value.

    Attributes:
        name: What it is called.
        value: Its contribution to the score.
        paint: What its colour stands for; positive is blue.
        box: Where it lies in an image.
        is_unstable: Whether its sign differs between draws; then it is grey.
    """

    name: str
    value: float
    paint: float
    box: Box | None = None
    is_unstable: bool = False

    @property
    def mark(self) -> str:
        """The value with its sign, and a question mark where that is not known."""
        return signed(self.value) + ("?" if self.is_unstable else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """A token of a text as it is shown.

    Attributes:
        text: The token.
        mark: What is written below, so that colour is not the only carrier.
        value: Its contribution; None: it has none.
        colour: Behind it.
        place: Where in the text it stands, by name.
    """

    text: str
    mark: str
    value: float | None
    colour: RGB
    place: str

    def to_json(self) -> dict[str, Json]:
        """As pages and terminals read it."""
        colour, ink = hexadecimal(np.array([[self.colour, ink_on(self.colour)]]))[0]
        return {
            "text": self.text,
            "mark": self.mark,
            "value": self.value,
            "colour": colour,
            "ink": ink,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class WordLine:
    """A text as it is shown, and what it is."""

    name: str
    words: tuple[Word, ...]

    def to_json(self) -> dict[str, Json]:
        """As pages and terminals read it."""
        return {"name": self.name, "tokens": [word.to_json() for word in self.words]}


def signed(value: float) -> str:
    """A number whose sign is always written."""
    return f"{value:+.2g}"


def painted(parts: Sequence[Valued]) -> Bytes:
    """The colour of each part, shape (n, 3); the largest has that of an end."""
    scale = max((abs(part.paint) for part in parts), default=0.0)
    colours = signed_colours(np.array([part.paint for part in parts]), scale)
    colours[[part.is_unstable for part in parts]] = UNKNOWN
    return colours


def image_png(
    colours: Bytes,
    image: Tensor,
    parts: Sequence[Valued],
    caption: str,
    identity: str,
    *,
    title: str = "",
) -> bytes:
    """Input in its colours, map over the grey input, map with numbers of its largest parts; a PNG.

    The first two show a box around the largest part.

    Args:
        colours: Of each pixel, height x width x 3.
        image: The input, channels x height x width.
        parts: Those whose numbers are written, the largest first.
        caption: What is written below.
        identity: Kept in the file, so that it finds its row.
        title: What is written above.
    """
    numbered = _numbered(colours, parts[:NUMBERED])
    largest = ", ".join(f"{part.name} {part.mark}" for part in parts[:NUMBERED])
    panels = [
        _boxed(panel, parts[:1]) for panel in (picture_of_input(image), over_grey(image, colours))
    ]
    row = Row(tiles=(*panels, numbered), label=title)
    return sheet_png([row], f"{caption}; largest: {largest}", identity, side=PANEL, gap=GAP)


def text_png(texts: Sequence[WordLine], caption: str, identity: str) -> bytes:
    """The tokens of texts in their colours, each over its mark; a PNG.

    A token that the font cannot draw is named by its place: the terminal and the page have it.
    """
    sheet = _Sheet()
    for text in texts:
        sheet.add(text)
    words = [word for text in texts for word in text.words]
    unknown = any(not can_draw(word.text) for word in words)
    note = "; #N: token N, whose letters cannot be drawn" if unknown else ""
    return sheet.png(caption + note, identity)


def table_png(columns: Sequence[Valued], caption: str, identity: str) -> bytes:
    """Bars of the columns that contribute most, to both sides of zero, with numbers; a PNG."""
    order = sorted(columns, key=lambda column: -abs(column.value))
    shown = order[:BARS]
    colours, most = painted(shown), max(abs(column.value) for column in shown) or 1.0
    left, number_width = NAME_WIDTH + 2 * GAP, 64
    half = (WIDTH - left - GAP) // 2 - number_width
    middle = left + number_width + half
    rest = len(order) - len(shown)
    note = f"; {rest} smaller columns are not shown" if rest else ""
    lines = folded(caption + note, WIDTH - 2 * GAP)
    height = GAP + LINE * (len(shown) + 1)
    page = Image.new("RGB", (WIDTH, height + LINE * len(lines) + GAP), PAPER)
    pen = ImageDraw.Draw(page)
    for row, (column, colour) in enumerate(zip(shown, colours.tolist(), strict=True)):
        top = GAP + row * LINE
        name = shortened(column.name, NAME_WIDTH)
        write(pen, (left - GAP - length(name), top), [name])
        end = middle + round(half * column.value / most)
        box = (min(middle, end), top + 2, max(middle, end), top + LINE - 4)
        pen.rectangle(box, fill=tuple(colour), outline=BOUND)
        number = column.mark
        at = end + PAD if column.value >= 0 else end - PAD - length(number)
        write(pen, (at, top), [number])
    pen.line((middle, GAP, middle, height - LINE), fill=INK)
    write(pen, (GAP, height), lines)
    return png(page, identity)


def _boxed(picture: Bytes, parts: Sequence[Valued]) -> Bytes:
    """The fitted picture with a line around parts, dark within light: seen on any colour."""
    shown = fitted(picture, PANEL)
    scale = shown.shape[0] / picture.shape[0]
    panel = Image.fromarray(shown)
    pen = ImageDraw.Draw(panel)
    for box in (part.box for part in parts if part.box is not None):
        y0, x0, y1, x1 = (round(edge * scale) for edge in box)
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=PAPER)
        pen.rectangle((x0 + 1, y0 + 1, x1 - 2, y1 - 2), outline=INK)
    return np.asarray(panel, dtype=np.uint8)


def _numbered(colours: Bytes, parts: Sequence[Valued]) -> Bytes:
    """The fitted map; in the middle of each part its number, where no other one stands."""
    shown = fitted(colours, PANEL)
    scale = shown.shape[0] / colours.shape[0]
    panel = Image.fromarray(shown)
    pen = ImageDraw.Draw(panel)
    taken: list[Box] = []
    for part in parts:
        if part.box is None:
            continue
        y0, x0, y1, x1 = (round(edge * scale) for edge in part.box)
        width = length(part.mark) + PAD
        left = min(max(0, (x0 + x1) // 2 - width // 2), panel.width - width)
        top = min(max(0, (y0 + y1) // 2 - LINE // 2), panel.height - LINE)
        plate = (left, top, left + width, top + LINE - 2)
        pen.rectangle((x0, y0, x1 - 1, y1 - 1), outline=BOUND)
        if any(_meet(plate, other) for other in taken):
            continue
        taken.append(plate)
        pen.rectangle(plate, fill=PAPER)
        write(pen, (left + PAD // 2, top), [part.mark])
    return np.asarray(panel, dtype=np.uint8)


def _meet(one: Box, other: Box) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


class _Sheet:
    """A page that words are set on, line after line."""

    def __init__(self) -> None:
        self._boxes: list[tuple[tuple[int, int], int, str, Word]] = []
        self._names: list[tuple[int, str]] = []
        self._top = GAP

    def add(self, text: WordLine) -> None:
        """Set a text below what is there."""
        if text.name:
            self._names.append((self._top, text.name))
            self._top += LINE
        shown = [
            shortened(word.text if can_draw(word.text) else f"#{word.place}", WIDTH // 3)
            for word in text.words
        ]
        widths = [
            max(length(words), length(word.mark)) + 2 * PAD
            for words, word in zip(shown, text.words, strict=True)
        ]
        places = list(_flowing(widths, self._top))
        self._boxes += zip(places, widths, shown, text.words, strict=True)
        self._top = max((top for _, top in places), default=self._top) + 2 * LINE + GAP

    def png(self, caption: str, identity: str) -> bytes:
        """The page with its caption."""
        lines = folded(caption, WIDTH - 2 * GAP)
        page = Image.new("RGB", (WIDTH, self._top + LINE * len(lines) + GAP), PAPER)
        pen = ImageDraw.Draw(page)
        for top, name in self._names:
            write(pen, (GAP, top), [name])
        for (left, top), width, shown, word in self._boxes:
            box = (left, top, left + width - 2, top + LINE)
            pen.rectangle(box, fill=word.colour, outline=BOUND)
            write(pen, (left + PAD, top + 1), [shown], ink_on(word.colour))
            write(pen, (left + PAD, top + LINE + 1), [word.mark])
        write(pen, (GAP, self._top), lines)
        return png(page, identity)


def _flowing(widths: Sequence[int], top: int) -> Iterator[tuple[int, int]]:
    """Upper left corners of boxes set like words, two lines of text high."""
    left = GAP
    for width in widths:
        if left > GAP and left + width > WIDTH - GAP:
            left, top = GAP, top + 2 * LINE + GAP
        yield left, top
        left += width + PAD
