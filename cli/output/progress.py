"""How far a long command is: a bar on stderr, for people only, and only where it takes a while."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE_S = 1.0  # a bar that appears and vanishes at once is noise

T_co = TypeVar("T_co", covariant=True)
Advance = Callable[[int, int], None]  # so many are done, of so many


class Known(Sized, Iterable[T_co], Protocol[T_co]):
    """Something that knows how many it has."""


def tracked(items: Known[T_co], title: str) -> Iterator[T_co]:
    """The items, with a bar on stderr once they have taken a second.

    Args:
        items: What is worked through.
        title: What is being done to them.
    """
    with counted_bar(title) as advance:
        for n_done, item in enumerate(items, start=1):
            yield item
            advance(n_done, len(items))


@contextmanager
def counted_bar(title: str, *, at_once: bool = False) -> Iterator[Advance]:
    """A bar on a terminal's stderr that is told how many are done.

    Args:
        title: What is being done.
        at_once: Show it from the start, for what always takes more than a second; else it shows
            with the first advance after one.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _of: None
        return
    started = time.monotonic()
    bar = _bar()
    task = bar.add_task(title, total=None)
    if at_once:
        bar.start()

    def advance(done: int, of: int) -> None:
        bar.update(task, completed=done, total=of)
        if time.monotonic() - started > PATIENCE_S and not bar.live.is_started:
            bar.start()

    try:
        yield advance
    finally:
        bar.stop()


def _bar() -> "Progress":
    from rich.console import Console  # noqa: PLC0415 - rich costs 0.1 s
    from rich.progress import Progress  # noqa: PLC0415

    return Progress(console=Console(stderr=True), transient=True)
