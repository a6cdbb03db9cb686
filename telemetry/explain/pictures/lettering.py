"""Text within pictures: Pillow's own font, the same on every machine, knows little but ASCII."""

import unicodedata
from collections.abc import Sequence

from PIL import ImageDraw, ImageFont

LINE = 18  # height of a line of text, pixels
INK = (0, 0, 0)
FONT = ImageFont.load_default(13)
LAST_OF_PLANE = 0xFFFF  # what four digits can write
LATIN = ("LATIN SMALL LETTER ", "LATIN CAPITAL LETTER ")


def drawable(text: str) -> str:
    r"""A text in characters that the font has.

    Letters lose their marks (`é` is `e`); what has no such letter is written as its code point,
    `\u4f60`, as JSON would.
    """
    return "".join(map(_drawable, text))


def can_draw(text: str) -> bool:
    """Whether a text stays readable in a picture: something shows, and nothing as a code point."""
    return bool(text.strip()) and all(_letter(character) is not None for character in text)


def length(text: str) -> int:
    """Pixels that a text takes."""
    return round(FONT.getlength(drawable(text)))


def folded(text: str, width: int) -> list[str]:
    """A text in lines of at most so many pixels; only a longer word is cut.

    Args:
        text: As it will be drawn.
        width: Pixels.
    """
    lines: list[str] = []
    for word in drawable(text).split():
        joined = f"{lines[-1]} {word}" if lines else word
        if lines and length(joined) <= width:
            lines[-1] = joined
            continue
        rest = word
        while length(rest) > width and len(rest) > 1:
            fitting = max(1, _fitting(rest, width))
            lines.append(rest[:fitting])
            rest = rest[fitting:]
        lines.append(rest)
    return lines


def shortened(text: str, width: int) -> str:
    """A text within so many pixels, its end left out."""
    written = drawable(text)
    if length(written) <= width:
        return written
    return written[: _fitting(written, width - length("..."))] + "..."


def write(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    lines: Sequence[str],
    ink: tuple[int, int, int] = INK,
) -> None:
    """Draw lines of text from their upper left corner downwards."""
    left, top = place
    for number, line in enumerate(lines):
        pen.text((left, top + number * LINE), drawable(line), fill=ink, font=FONT)


def _fitting(text: str, width: int) -> int:
    return max((n for n in range(len(text) + 1) if length(text[:n]) <= width), default=0)


def _drawable(character: str) -> str:
    letter, point = _letter(character), ord(character)
    if letter is not None:
        return letter
    return f"\\u{point:04x}" if point <= LAST_OF_PLANE else f"\\U{point:08x}"


def _letter(character: str) -> str | None:
    """The ASCII that stands for a character; None where there is none."""
    if character.isascii():
        return character if character.isprintable() else " "
    for form in (character, character.casefold()):  # of the sharp s
        parts = unicodedata.normalize("NFKD", form)
        plain = "".join(part for part in parts if not unicodedata.combining(part))
        if plain and plain.isascii() and plain.isprintable():
            return plain
    name = unicodedata.name(character, "")
    base = next((name.removeprefix(kind) for kind in LATIN if name.startswith(kind)), "")
    letter = base.split(" WITH ")[0]  # such as the L of L WITH STROKE
    if len(letter) != 1:
        return None
    return letter if character.isupper() else letter.lower()
