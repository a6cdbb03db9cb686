"""Small texts: plurals, widths on a terminal, and what is written where only ASCII is known."""

import unicodedata


def plural(n: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def pad(text: str, width: int) -> str:
    """The text followed by blanks up to a width in terminal cells."""
    return text + " " * (width - cells(text))


def cells(text: str) -> int:
    """Width of a text on a terminal; East Asian wide characters take two cells."""
    wide = sum(unicodedata.east_asian_width(character) in {"W", "F"} for character in text)
    combining = sum(unicodedata.combining(character) > 0 for character in text)
    return len(text) + wide - combining


def in_ascii(text: str) -> str:
    """The text with `7x` for `7×`: what our own texts use beyond ASCII."""
    return text.replace("×", "x")
