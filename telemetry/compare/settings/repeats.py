"""Runs that repeat one configuration: other seeds, other folds, nothing else.

Inner folds part the training data of an outer fold, and a holdout is trained on all folds: their
scores are no repeated measures of what the outer folds measure, nor those of two outer folds.
"""

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum
from functools import lru_cache

from telemetry.compare.settings.config_changes import canonical, flat, is_repeat_key
from telemetry.json_values import Json
from telemetry.store.runs.run import Run

CV_TAG = "cv="  # of all runs of a cross-validation
HOLDOUT_TAG, NESTED_TAG = "holdout", "nested"  # of its runs that are no outer folds


class Share(StrEnum):
    """What a run trained on."""

    OWN = "own"  # all data, or what an outer fold leaves
    INNER = "inner"  # what an inner fold leaves of that
    HOLDOUT = "holdout"  # all folds


def share_of(run: Run) -> Share:
    """What a run trained on, by the tags of a cross-validation, else by its settings."""
    if any(tag.startswith(CV_TAG) for tag in run.tags):
        for tag, share in ((HOLDOUT_TAG, Share.HOLDOUT), (NESTED_TAG, Share.INNER)):
            if tag in run.tags:
                return share
    return Share.OWN if fold_of(run.config, inner=True) is None else Share.INNER


def fold_of(config: Mapping[str, Json], *, inner: bool) -> str | None:
    """Number of the fold as text, of the inner one or of the outer one; None without it."""
    for key, value in flat(config).items():
        words = words_of(key)
        if "fold" in words and value is not None and ("inner" in words) == inner:
            return canonical(value)
    return None


@lru_cache(maxsize=4096)
def words_of(key: str) -> frozenset[str]:
    """The words of a setting's name, in small letters."""
    return frozenset(re.findall(r"[a-z]+", key.lower()))


def grouped(runs: Sequence[Run]) -> list[list[int]]:
    """Positions of the runs that repeat one configuration on one share of data, in given order.

    A run without a configuration says nothing of what it repeats and stands alone, as does an
    inner fold that does not say of which outer one.
    """
    groups: dict[tuple[str | None, ...], list[int]] = {}
    for i, run in enumerate(runs):
        share, outer = share_of(run), fold_of(run.config, inner=False)
        is_known = bool(run.config) and (share is not Share.INNER or outer is not None)
        place = share, outer if share is Share.INNER else None, None if is_known else run.run
        settings = sorted(essential(run.config).items())
        key = *place, *(text for name, one in settings for text in (name, canonical(one)))
        groups.setdefault(key, []).append(i)
    return list(groups.values())


def essential(config: Mapping[str, Json]) -> dict[str, Json]:
    """The settings that make a configuration: all but what numbers its repetitions."""
    return {key: value for key, value in flat(config).items() if not is_repeat_key(key)}
