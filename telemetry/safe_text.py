"""Text from outside made safe for a terminal and a page.

Run, layer, class and tag names come from files that anybody may have written: an escape sequence
in a name could move the cursor, rewrite the title or hide the verdict.
"""

import unicodedata

# Cc: C0, DEL, C1. Cf: bidirectional overrides and other invisible formatting. Cs: lone surrogates,
# which no encoding can write. Zl, Zp: line breaks that terminals disagree about.
UNSAFE_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
SHORT_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def clean(text: str) -> str:
    r"""The text with every control character written out, as `\x1b` or `\u202e`."""
    if text.isprintable():
        return text
    return "".join(_visible(character) for character in text)


def clean_lines(text: str) -> str:
    """As `clean`, but line breaks stay: for text that is meant to have several lines."""
    return "\n".join(clean(line) for line in text.split("\n"))


def _visible(character: str) -> str:
    if unicodedata.category(character) not in UNSAFE_CATEGORIES:
        return character
    short = SHORT_ESCAPES.get(character)
    if short is not None:
        return short
    if character.isascii():
        return f"\\x{ord(character):02x}"
    return character.encode("ascii", "backslashreplace").decode("ascii")
