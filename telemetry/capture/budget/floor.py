"""The samples that a run gets whatever they cost: without them no rule could look at it.

Eight lie in the first 30 steps, 24 in the first 60. From there on the distance grows with the steps
done, so that a run whose length nobody knows has them over its whole length, and their share of the
time falls the longer it takes. Steps alone decide, so ranks share them.
"""

from collections.abc import Iterator

FLOOR_SAMPLES = 24
BEGINNING = (0, 1, 2, 4, 8, 12, 18, 26)
EVEN_FROM, EVEN_TO, EVEN_DISTANCE = BEGINNING[-1], 58, 2
PATTERN = frozenset((*BEGINNING, *range(EVEN_FROM, EVEN_TO + 1, EVEN_DISTANCE)))
SHORT_RUN = EVEN_TO + 2  # steps; a shorter one is sampled evenly, where its length is known
GROWTH = 8  # the distance is this part of the steps done: six samples while they double


def next_of_floor(after: int, total: int | None) -> int:
    """The next step of the floor.

    Args:
        after: A step of the floor.
        total: Planned steps; None: not known.
    """
    if total is not None and total < SHORT_RUN:
        distance = max(total // FLOOR_SAMPLES, 1)
        if after < total:
            return after + distance
    if after < EVEN_FROM:
        return next(step for step in BEGINNING if step > after)
    if after < EVEN_TO:
        return after + EVEN_DISTANCE
    distance = after // GROWTH
    if total is not None and after < total:
        rest = max((total - EVEN_TO) // (FLOOR_SAMPLES - len(BEGINNING)), EVEN_DISTANCE)
        distance = min(distance, rest)
    return after + distance


class Floor:
    """Says of each step, in their order, whether it is one of the floor.

    Args:
        every: Only multiples of it are samples at all.
        total_steps: Planned steps of the run; None: not known.
    """

    def __init__(self, *, every: int, total_steps: int | None) -> None:
        self._every = every
        self._total = None if total_steps is None else -(-total_steps // every)
        self._steps = self._all()
        self._next = next(self._steps)

    def has(self, step: int) -> bool:
        """Whether this step is one; asked once a step."""
        while self._next < step:  # earlier attempts have had them
            self._next = next(self._steps)
        return self._next == step

    def after(self, step: int) -> int:
        """The next one after a step that was asked for."""
        while self._next <= step:
            self._next = next(self._steps)
        return self._next

    def _all(self) -> Iterator[int]:
        index = 0
        while True:
            yield index * self._every
            index = next_of_floor(index, self._total)
