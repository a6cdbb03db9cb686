"""What leads wrong answers: the strongest part of each, and of a text the words around it."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from telemetry.evaluate.stored.explanations import StoredExplanation, strongest

LEADERS = 5  # that are told
MARKED = 0.9  # of what speaks for the score: the parts that hold it are the marked ones of a map
LONGEST = 5  # words on each side of the strongest

_PLACED = re.compile(r"(?P<place>\d+)(-\d+)?:(?P<word>.*)", re.DOTALL)  # a token and where it is


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    """A part that leads so many wrong answers, as in the stored answers with these ids."""

    part: str
    n: int
    ids: tuple[str, ...]


def leaders_of(explained: Sequence[StoredExplanation]) -> tuple[Leader, ...]:
    """What leads wrong answers, the most frequent first; words are the same wherever they stand."""
    groups: dict[str, list[StoredExplanation]] = {}
    for asked in explained:
        groups.setdefault(_word(strongest(asked)[0][0]), []).append(asked)
    found = [
        Leader(part=_phrase(part, group), n=len(group), ids=tuple(one.id for one in group))
        for part, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda leader: -leader.n)[:LEADERS])


def _word(part: str) -> str:
    placed = _PLACED.fullmatch(part)
    return part if placed is None else placed["word"]


def _phrase(part: str, group: Sequence[StoredExplanation]) -> str:
    """A word with those beside it that are among the marked parts in most of the answers."""
    texts = [_around(strongest(asked)) for asked in group]
    words = [part]
    for side in (-1, 1):
        for distance in range(1, LONGEST):
            beside = Counter(text.get(side * distance) for text in texts)
            word, n = beside.most_common(1)[0]
            if word is None or 2 * n <= len(texts):
                break
            words = [word, *words] if side < 0 else [*words, word]
    return " ".join(words)


def _around(parts: Sequence[tuple[str, float, float]]) -> Mapping[int, str]:
    """The marked words of one text by their distance from the strongest; empty for other parts."""
    first = _PLACED.fullmatch(parts[0][0])
    if first is None:
        return {}
    found, held = {}, 0.0
    for name, _, share in parts:
        placed = _PLACED.fullmatch(name)
        if held >= MARKED or placed is None:
            break
        held += share
        found[int(placed["place"]) - int(first["place"])] = placed["word"]
    return found
