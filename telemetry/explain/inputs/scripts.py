"""In which script a text is written."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from functools import lru_cache

MOST_NAMED = 4096  # characters whose script is remembered


def script_of(tokens: Iterable[str]) -> str | None:
    """The script of most letters, as Unicode names it (`latin`, `cyrillic`); None: no letters."""
    found = Counter(
        script for token in tokens for letter in token if (script := _script(letter)) is not None
    )
    return found.most_common(1)[0][0] if found else None


@lru_cache(maxsize=MOST_NAMED)
def _script(letter: str) -> str | None:
    """Of one letter; the first word of its name says it, as in CYRILLIC SMALL LETTER A."""
    if not letter.isalpha():
        return None
    first = unicodedata.name(letter, "").split(" ")[0]
    return first.split("-")[0].lower() or None
