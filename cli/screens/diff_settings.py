"""The lines of `telemetry diff` that say what was set or found differently."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from telemetry.cli.output import numbers
from telemetry.compare.settings.changed import (
    DATA_HASH,
    OTHER_DATA,
    Sort,
    by_sort,
    plain_key,
    shortened,
)

if TYPE_CHECKING:
    from telemetry.compare.diff.result import Diff
    from telemetry.compare.settings.config_changes import ConfigChange
    from telemetry.json_values import Json

MOST_SHOWN = 8  # changes of a sort that a terminal shows
# What the lines are called; the configuration and its seeds come first.
LABELS = {
    Sort.OPTIMIZER: "optimizer",
    Sort.MODEL: "model",
    Sort.DATA: "data",
    Sort.CODE: "code",
    Sort.ENVIRONMENT: "machine",
}


def setting_lines(diff: "Diff", *, shown: int | None) -> Iterator[tuple[str, str]]:
    """Label and text of each line; the configuration always has one.

    Args:
        diff: The comparison.
        shown: How many changes a line names; None: all.
    """
    changed = by_sort(diff.config)
    configured = (*changed[Sort.SETTING], *changed[Sort.REPEAT])
    n_keys = len({key for run in (*diff.base, *diff.candidate) for key in run.config})
    text = f"{len(configured)} of {n_keys} differ" if n_keys else "none"
    yield "config", "; ".join([text, *_texts(configured, shown)])
    for sort, label in LABELS.items():
        if changed[sort]:
            yield label, "; ".join(_texts(changed[sort], shown))


def _texts(changes: Sequence["ConfigChange"], shown: int | None) -> list[str]:
    """The changes; those of equal values share one text, as `1, 3, 5 ReLU() -> Sigmoid()`."""
    names: dict[str, list[str]] = {}
    for change in changes:
        names.setdefault(_values(change), []).append(_name(change.key))
    texts = [f"{_listed(own, shown)} {values}".strip() for values, own in names.items()]
    more = len(texts[shown:]) if shown is not None else 0
    return [*texts[:shown], f"{more} more with --json"] if more else texts


def _values(change: "ConfigChange") -> str:
    """Both values; of a hash only what it says to a person, which needs no name."""
    if change.key == DATA_HASH:
        return OTHER_DATA
    return (
        f"{_setting(change.key, change.base, change.candidate)} -> "
        f"{_setting(change.key, change.candidate, change.base)}"
    )


def _listed(names: Sequence[str], shown: int | None) -> str:
    """Names in order; of many the first ones, and how many more."""
    ordered = sorted(names, key=_by_number)
    text = ", ".join(ordered[:shown])
    more = 0 if shown is None else len(ordered) - shown
    return f"{text} and {more} more" if more > 0 else text


def _by_number(name: str) -> list[tuple[int, str]]:
    """Layer 2 before layer 11."""
    return [(int(part) if part.isdecimal() else -1, part) for part in name.split(".")]


def _name(key: str) -> str:
    """The key without what the label says already; '' where the values alone say it."""
    if key == DATA_HASH:
        return ""
    plain = plain_key(key)
    first, _, rest = plain.partition(".")
    return rest if rest and plain != key and first in LABELS.values() else plain


def _setting(key: str, value: "Json", other: "Json") -> str:
    """A value; a text that looks like another type is quoted where the types differ."""
    if value is None:
        return "absent"
    if isinstance(value, str) and other is not None and not isinstance(other, str):
        return repr(value)
    return numbers.literal(shortened(key, value))
