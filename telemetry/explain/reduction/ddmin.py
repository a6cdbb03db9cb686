"""Delta debugging: the least part of a set that still does what the whole does.

Source: Zeller and Hildebrandt, Simplifying and isolating failure-inducing input, IEEE Transactions
on Software Engineering 2002.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Items = tuple[int, ...]
Judge = Callable[[Sequence[Items]], Sequence[bool]]


@dataclass(slots=True, kw_only=True, eq=False)
class Trials:
    """Asks each set of items once, many at a time, and not more often than allowed.

    Attributes:
        judge: Whether each of some sets does what the whole does.
        most: Sets that may be asked.
        calls: Sets that were asked.
    """

    judge: Judge
    most: int
    calls: int = 0
    _known: dict[frozenset[int], bool] = field(default_factory=dict)

    def ask(self, sets: Sequence[Items]) -> list[bool] | None:
        """The verdict on each set; None where that would be too many."""
        new = {frozenset(items): items for items in sets}
        new = {key: items for key, items in new.items() if key not in self._known}
        if self.calls + len(new) > self.most:
            return None
        self.calls += len(new)
        self._known.update(zip(new, self.judge(list(new.values())), strict=True))
        return [self._known[frozenset(items)] for items in sets]


@dataclass(frozen=True, slots=True, kw_only=True)
class Least:
    """What is left; `proven`: without any one of its items it no longer does it."""

    items: Items
    proven: bool


def ddmin(items: Sequence[int], trials: Trials) -> Least:
    """The least part of items that the judge still accepts.

    Args:
        items: Accepted as a whole; neighbours in this order are kept together.
        trials: Who judges. Outcomes need not be monotone.
    """
    left, n_parts = tuple(items), 2
    while len(left) >= 2:  # noqa: PLR2004 - one item cannot be divided
        parts = _parts(left, n_parts)
        without = [_without(left, part) for part in parts] if n_parts > 2 else []  # noqa: PLR2004 - two halves are each other's rest
        tried = [*parts, *without]
        verdicts = trials.ask(tried)
        if verdicts is None:
            return Least(items=left, proven=False)
        hit = next((place for place, good in enumerate(verdicts) if good), None)
        if hit is None:
            if n_parts >= len(left):
                break
            n_parts = min(len(left), 2 * n_parts)
        else:
            n_parts = 2 if hit < len(parts) else max(n_parts - 1, 2)
            left = tried[hit]
    return Least(items=left, proven=True)


def _parts(items: Items, n_parts: int) -> list[Items]:
    size = -(-len(items) // n_parts)
    return [items[start : start + size] for start in range(0, len(items), size)]


def _without(items: Items, part: Items) -> Items:
    gone = set(part)
    return tuple(item for item in items if item not in gone)
