"""What leads wrong answers: the strongest part of each, and of a text the words around it."""

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telemetry.evaluate.stored.explanations import StoredExplanation, strongest

LEADERS = 5  # that are told
MARKED = 0.9  # of what speaks for the score: the parts that hold it are the marked ones of a map
ALIKE, LEAST_ALIKE = 0.9, 3  # of answers with a word beside the strongest; of at least so many
LONGEST = 5  # words on each side of the strongest

_PLACED = re.compile(r"(?P<place>\d+)(-\d+)?:(?P<word>.*)", re.DOTALL)  # a token and where it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """A part that leads so many wrong answers, as in the stored answers with these ids."""

    part: str
    n: int
    ids: tuple[str, ...]


def leaders_of(explained: Sequence[StoredExplanation]) -> tuple[Leader, ...]:
    """What leads wrong answers, the most frequent first; words are the same wherever they stand.

    Answers whose strongest word is another of the same phrase are led by that phrase.
    """
    groups: dict[str, list[StoredExplanation]] = {}
    for asked in explained:
        groups.setdefault(_word(strongest(asked)[0][0]), []).append(asked)
    led: dict[tuple[str, ...], list[StoredExplanation]] = {}
    for part, group in sorted(groups.items(), key=lambda item: -len(item[1])):
        own = _phrase(part, group)
        for asked in group:
            known = next((phrase for phrase in led if _holds(asked, phrase)), own)
            led.setdefault(known, []).append(asked)
    found = [
        Leader(part=" ".join(phrase), n=len(group), ids=tuple(one.id for one in group))
        for phrase, group in led.items()
    ]
    return tuple(sorted(found, key=lambda leader: -leader.n)[:LEADERS])


def _word(part: str) -> str:
    placed = _PLACED.fullmatch(part)
    return part if placed is None else placed["word"]


def _phrase(part: str, group: Sequence[StoredExplanation]) -> tuple[str, ...]:
    """A word with those that belong to it.

    They are among the marked parts in most of the answers; or they are beside it in nearly all,
    which cannot tell them apart, and rarely elsewhere.
    """
    evidence, texts = (
        [_around(strongest(asked), least) for asked in group] for least in (MARKED, math.inf)
    )
    words = [part]
    for side in (-1, 1):
        for distance in range(1, LONGEST):
            place = side * distance
            marked = Counter(text.get(place) for text in evidence)
            word = _frequent(marked, len(group) / 2)
            if word is None and len(group) >= LEAST_ALIKE:
                beside = Counter(text.get(place) for text in texts)
                word = _frequent(beside, ALIKE * len(group) - 1)
                elsewhere = sum(list(text.values()).count(word or "") for text in texts)
                word = word if elsewhere < 2 * beside[word] else None
            if word is None:
                break
            words = [word, *words] if side < 0 else [*words, word]
    return tuple(words)


def _frequent(words: Counter[str | None], more_than: float) -> str | None:
    word, n = words.most_common(1)[0]
    return word if n > more_than else None


def _holds(asked: StoredExplanation, phrase: tuple[str, ...]) -> bool:
    """Whether the strongest word of a text is one of a phrase that it has."""
    parts = strongest(asked)
    around = {0: _word(parts[0][0]), **_around(parts, math.inf)}
    return any(
        all(around.get(place - own) == word for place, word in enumerate(phrase))
        for own in range(len(phrase))
    )


def _around(parts: Sequence[tuple[str, float, float]], least: float) -> Mapping[int, str]:
    """Words of a text by their distance from the strongest; empty for other parts.

    Args:
        parts: The strongest first.
        least: Share of what speaks for the score, that they hold together.
    """
    first = _PLACED.fullmatch(parts[0][0])
    if first is None:
        return {}
    found, held = {}, 0.0
    for name, _, share in parts:
        placed = _PLACED.fullmatch(name)
        if held >= least or placed is None:
            break
        held += share
        found[int(placed["place"]) - int(first["place"])] = placed["word"]
    return found
