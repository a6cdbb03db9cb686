"""How far a long answer has come, what is known of it already, and how long it may take."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar

from telemetry.json_values import Json

Progress = Callable[[int, int], None]  # done, of how many: forwards, examples or folds
Listener = Callable[[Mapping[str, Json]], None]  # told by messages of one entry each


class TimeUp(Exception):  # noqa: N818 - named after what has happened
    """The time that a question may take is over: what was found so far is the answer."""


_listener: ContextVar[Listener | None] = ContextVar("listener", default=None)
_end: ContextVar[float | None] = ContextVar("end", default=None)


@contextmanager
def heard(listener: Listener | None, *, seconds: float | None = None) -> Iterator[None]:
    """A block whose messages somebody hears, and which may take some seconds.

    Args:
        listener: Hears each message; None: nobody.
        seconds: That it may take; None: any time.
    """
    end = None if seconds is None else time.monotonic() + seconds
    tokens = _listener.set(listener), _end.set(end)
    try:
        yield
    finally:
        _listener.reset(tokens[0])
        _end.reset(tokens[1])


def tell(**message: Json) -> None:
    """Tell whoever listens what is known already."""
    listener = _listener.get()
    if listener is not None:
        listener(message)


def need_time() -> None:
    """End what is being computed where the time is over.

    Raises:
        TimeUp: it is.
    """
    end = _end.get()
    if end is not None and time.monotonic() > end:
        raise TimeUp
