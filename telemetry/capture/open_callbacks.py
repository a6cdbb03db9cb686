"""Callbacks that are open in this process: ended at exit, and by the exception that ends it."""

import atexit
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Protocol

from torch import nn

from telemetry.json_values import Json

MESSAGE_BYTES = 4096


class Closable(Protocol):
    """What this module needs of a callback."""

    def close(self) -> None:
        """End the run as finished."""
        ...

    def fail(self, error: BaseException) -> None:
        """End the run as failed by an exception."""
        ...


_lock = threading.Lock()
_open: dict[int, Closable] = {}  # by id of the model, which the callback keeps alive
_Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]
_previous_hook: list[_Hook] = []


def register(model: nn.Module, callback: Closable) -> Closable | None:
    """Remember the callback of a model; returns the one that was open on it before."""
    with _lock:
        if not _previous_hook:
            _previous_hook.append(sys.excepthook)
            sys.excepthook = _excepthook
            atexit.register(close_all)
        former = _open.pop(id(model), None)
        _open[id(model)] = callback
        return former


def forget(model: nn.Module, callback: Closable) -> None:
    """Drop a callback that was closed."""
    with _lock:
        if _open.get(id(model)) is callback:
            del _open[id(model)]


def close_all() -> None:
    """Close every open callback; runs at interpreter exit."""
    for callback in list(_open.values()):
        callback.close()


def describe(error: BaseException) -> Mapping[str, Json]:
    """Type, message and the last frame of an exception, as run.json keeps it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return {
        "type": type(error).__name__,
        "message": str(error)[:MESSAGE_BYTES],
        "where": where,
    }


def _excepthook(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    for callback in list(_open.values()):
        callback.fail(error)
    _previous_hook[0](kind, error, trace)
