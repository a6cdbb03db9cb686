"""Which sort of settings differ between two runs: what can explain that they part."""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

from telemetry.compare.settings.config_changes import (
    ENVIRONMENT_PREFIX,
    RECORDED_PREFIX,
    ConfigChange,
    is_repeat_key,
)
from telemetry.json_values import Json

MODEL, OPTIMIZER, DATA = "model", "optimizer", "data"
SHOWN = 2  # changes that a sentence names
DATA_HASH = f"{RECORDED_PREFIX}{DATA}.fingerprint"
OTHER_DATA = "the training data differ"  # a hash says no more
COMMIT_LENGTH = 9  # characters of a commit in a sentence
TEXT_LIMIT = 40  # characters of a value in a sentence
CODE_KEYS = frozenset({"git_commit", "git_dirty", "git_diff", "script", "script_hash"})


class Sort(StrEnum):
    """What a setting belongs to."""

    SETTING = "setting"
    REPEAT = "repeat"
    OPTIMIZER = "optimizer"
    MODEL = "model"
    DATA = "data"
    CODE = "code"
    ENVIRONMENT = "environment"


Changed = Mapping[Sort, tuple[ConfigChange, ...]]


def sort_of(key: str) -> Sort:
    """What a setting belongs to, by its dotted key."""
    if key.startswith(ENVIRONMENT_PREFIX):
        in_code = key.removeprefix(ENVIRONMENT_PREFIX) in CODE_KEYS
        return Sort.CODE if in_code else Sort.ENVIRONMENT
    if key.startswith(RECORDED_PREFIX):
        area = re.split(r"[\d.]", key.removeprefix(RECORDED_PREFIX), maxsplit=1)[0]
        return {OPTIMIZER: Sort.OPTIMIZER, MODEL: Sort.MODEL, DATA: Sort.DATA}[area]
    return Sort.REPEAT if is_repeat_key(key) else Sort.SETTING


def by_sort(config: Sequence[ConfigChange]) -> Changed:
    """The changes by what they belong to; a sort without one has an empty tuple.

    What the configuration says of the optimizer, `lr` for `recorded.optimizer.lr`, is told once.
    """
    found = {sort: tuple(c for c in config if sort_of(c.key) is sort) for sort in Sort}
    told = {_last(change) for change in found[Sort.SETTING]}
    found[Sort.OPTIMIZER] = tuple(c for c in found[Sort.OPTIMIZER] if _last(c) not in told)
    return found


def named(changes: Sequence[ConfigChange]) -> str:
    """`lr 0.1 -> 0.2, betas absent -> [0.9] and 2 more`."""
    texts = [
        f"{plain_key(c.key)} {_value(c.key, c.base)} -> {_value(c.key, c.candidate)}"
        for c in changes[:SHOWN]
    ]
    more = len(changes) - len(texts)
    return ", ".join(texts) + (f" and {more} more" if more else "")


def plain_key(key: str) -> str:
    """A key without the prefix that says where it comes from."""
    return key.removeprefix(ENVIRONMENT_PREFIX).removeprefix(RECORDED_PREFIX)


def same_code(base: Mapping[str, Json], candidate: Mapping[str, Json]) -> bool | None:
    """Whether two runs ran the same code; None where a repository does not tell.

    Args:
        base: Settings of a run, as `config_changes.settings`.
        candidate: The same of the other.
    """
    sides = [
        [side.get(ENVIRONMENT_PREFIX + key) for key in ("git_commit", "git_dirty", "git_diff")]
        for side in (base, candidate)
    ]
    if None in (sides[0][0], sides[1][0]):
        return None
    if sides[0] != sides[1]:
        return False
    _, dirty, changes = sides[0]
    return True if dirty is False or changes is not None else None


def _last(change: ConfigChange) -> tuple[str, str, str]:
    """Name and values, the name without what it is part of."""
    return change.key.rpartition(".")[2], str(change.base), str(change.candidate)


def shortened(key: str, value: Json) -> Json:
    """The value of a setting as a person compares it: of a commit the first characters."""
    if key.endswith("git_commit") and isinstance(value, str):
        return value[:COMMIT_LENGTH]
    return value


def _value(key: str, value: Json) -> str:
    text = "absent" if value is None else str(shortened(key, value))
    text = text.lower() if isinstance(value, bool) else text  # as screens write it
    return text if len(text) <= TEXT_LIMIT else text[: TEXT_LIMIT - 1] + "…"
