"""Names of metrics that say that the forwards before them were an evaluation."""

import re
from collections.abc import Iterable

WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+")
# A value_loss, which the phase of metrics takes for an evaluation, is that of an agent's training.
EVALUATION_WORDS = frozenset({"val", "valid", "validation", "eval", "evaluation", "test", "dev"})


def words_of(names: Iterable[str]) -> frozenset[str]:
    """The words of some names, in small letters."""
    return frozenset(word.lower() for name in names for word in WORD.findall(name))


def name_evaluation(names: Iterable[str]) -> bool:
    """Whether a word of one of them is val, test or the like."""
    return not EVALUATION_WORDS.isdisjoint(words_of(names))
