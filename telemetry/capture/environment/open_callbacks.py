"""Callbacks that are open in this process: ended at exit, and by the exception that ends it."""

import atexit
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Protocol

from torch import nn

from telemetry.capture.environment.exit_calls import ExitWatch
from telemetry.capture.environment.hidden_values import without_secrets
from telemetry.errors import TelemetryError
from telemetry.json_values import Json

MESSAGE_BYTES = 4096
PACKAGE = str(Path(__file__).parents[1])


class Closable(Protocol):
    """What this module needs of a callback."""

    def close(self) -> None:
        """End the run as finished."""
        ...

    def fail(self, error: BaseException) -> None:
        """End the run as failed by an exception."""
        ...


_lock = threading.Lock()
# By id of the model, which the callback keeps alive.
_open: dict[int, tuple[Closable, ExitWatch]] = {}
_Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]
_previous_hook: list[_Hook] = []
_watchers: list[Callable[[], None]] = []


def watch(watcher: Callable[[], None]) -> None:
    """Call `watcher` whenever a callback is about to be registered."""
    _watchers.append(watcher)


def unwatch(watcher: Callable[[], None]) -> None:
    """Stop calling `watcher`."""
    if watcher in _watchers:
        _watchers.remove(watcher)


def register(
    model: nn.Module, callback: Closable, progress: Callable[[], object]
) -> Closable | None:
    """Remember the callback of a model; returns the one that was open on it before.

    Args:
        model: What is trained.
        callback: Is closed when the process ends.
        progress: Gives another value after whatever the training does.
    """
    for watcher in tuple(_watchers):
        watcher()
    with _lock:
        if not _previous_hook:
            _previous_hook.append(sys.excepthook)
            sys.excepthook = _excepthook
            atexit.register(close_all)
        former = _open.pop(id(model), None)
        _open[id(model)] = callback, ExitWatch(progress)
        if former is None:
            return None
        former[1].close()
        return former[0]


def forget(model: nn.Module, callback: Closable) -> None:
    """Drop a callback that was closed."""
    with _lock:
        found = _open.get(id(model))
        if found is not None and found[0] is callback:
            del _open[id(model)]
            found[1].close()


def n_open() -> int:
    """How many are open now."""
    return len(_open)


def close_all() -> None:
    """Close every open callback; runs at interpreter exit. One that fails stops no other."""
    errors: list[TelemetryError] = []
    for callback, exits in list(_open.values()):
        failure = exits.error
        try:
            if failure is None:
                callback.close()
            else:
                callback.fail(failure)
        except TelemetryError as error:  # of a strict one
            errors.append(error)
    if errors:
        raise errors[0]


def describe(error: BaseException) -> Mapping[str, Json]:
    """Type, message and the last frame of an exception, as run.json keeps it."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return {
        "type": type(error).__name__,
        "message": without_secrets(str(error)[:MESSAGE_BYTES]),
        "where": where,
    }


def hide_own_frames(error: BaseException) -> None:
    """Take the frames of observed functions out of the traceback of a script's own error."""
    chained: BaseException | None = error
    seen: set[int] = set()
    while chained is not None and id(chained) not in seen:
        seen.add(id(chained))
        frame = chained.__traceback__
        while frame is not None:
            while _is_own(frame.tb_next):
                frame.tb_next = frame.tb_next.tb_next if frame.tb_next else None
            frame = frame.tb_next
        chained = chained.__cause__ or chained.__context__


def _is_own(frame: TracebackType | None) -> bool:
    """A frame of capture that called back into other code."""
    return (
        frame is not None
        and frame.tb_next is not None
        and frame.tb_frame.f_code.co_filename.startswith(PACKAGE)
    )


def _excepthook(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    for callback, _ in list(_open.values()):
        callback.fail(error)
    if not isinstance(error, TelemetryError):
        hide_own_frames(error)
    _previous_hook[0](kind, error, trace)
