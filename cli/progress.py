"""How far a long command is: a bar on stderr, for people only, and only where it takes a while."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Protocol, TypeVar

PATIENCE_S = 1.0  # a bar that appears and vanishes at once is noise

T_co = TypeVar("T_co", covariant=True)


class Known(Sized, Iterable[T_co], Protocol[T_co]):
    """Something that knows how many it has."""


def tracked(items: Known[T_co], title: str) -> Iterator[T_co]:
    """The items, with a bar on stderr once they have taken a second.

    Args:
        items: What is worked through.
        title: What is being done to them.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console  # noqa: PLC0415 - rich costs 0.1 s
    from rich.progress import Progress  # noqa: PLC0415

    started = time.monotonic()
    bar = Progress(console=Console(stderr=True), transient=True)
    task = bar.add_task(title, total=len(items))
    try:
        for item in items:
            yield item
            bar.advance(task)
            if time.monotonic() - started > PATIENCE_S and not bar.live.is_started:
                bar.start()
    finally:
        bar.stop()
