"""Small texts: plurals, widths on a terminal, and what an encoding without a character gets."""

import codecs
import unicodedata

READABLE = "telemetry.readable"  # for `errors=` of a stream
IN_ASCII = {"×": "x"}  # what our own texts use


def _readable(error: UnicodeError) -> tuple[str | bytes, int]:
    """`7x` for `7×`; other characters become escapes."""
    if not isinstance(error, UnicodeEncodeError):
        return codecs.backslashreplace_errors(error)
    lacking = error.object[error.start : error.end]
    return "".join(map(_in_ascii, lacking)), error.end


def _in_ascii(character: str) -> str:
    return IN_ASCII.get(character) or character.encode("ascii", "backslashreplace").decode()


codecs.register_error(READABLE, _readable)


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
