"""Tags of a run that the diagnosis understands.

A tag is the trainer's word that something unusual is meant. What each says and changes is in
`tag_meanings.py`; which rules it silences or softens is declared by those rules.
"""

from collections.abc import Sequence
from enum import StrEnum
from fnmatch import fnmatchcase

FROZEN_PREFIX = "frozen:"


class Tag(StrEnum):
    """Tags with a meaning, in lower case; upper case means the same."""

    GAN = "gan"
    RL = "rl"
    REINFORCEMENT_LEARNING = "reinforcement-learning"
    OVERFIT_ONE_BATCH = "overfit-one-batch"
    FINE_TUNE = "fine-tune"
    MC_DROPOUT = "mc-dropout"
    FROZEN = f"{FROZEN_PREFIX}PATTERN"  # a run has a pattern of layers or parameters in its place


UNJUDGED = frozenset({Tag.GAN, Tag.RL, Tag.REINFORCEMENT_LEARNING})


def is_frozen(tags: Sequence[str], *names: str) -> bool:
    """Whether a tag `frozen:PATTERN` fits one of the names: a parameter's, its layer's path."""
    patterns = [tag[len(FROZEN_PREFIX) :] for tag in tags if tag.lower().startswith(FROZEN_PREFIX)]
    return any(fnmatchcase(name, pattern) for pattern in patterns for name in names)
