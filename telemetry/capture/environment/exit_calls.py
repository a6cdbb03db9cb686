"""With which code a script asks to leave: the interpreter keeps no record of it for its last calls.

`sys.exit`, and the `exit` and `quit` of `site`, are observed while a callback is open. They raise
what they always raised; one who raises SystemExit without them is not seen.
"""

import _sitebuiltins
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from types import FunctionType

from telemetry.capture.isolation.replaced_methods import MakeMethod, Owner, ReplacedMethods


class ExitWatch:
    """The last call of an exit, until training goes on.

    Args:
        progress: Gives another value after whatever training does.
    """

    def __init__(self, progress: Callable[[], object]) -> None:
        self._progress = progress
        self._code: object = None
        self._at: object = None
        _exits.observe(self)

    @property
    def error(self) -> SystemExit | None:
        """What ends the process in failure, as far as is known; None while nothing does."""
        if not is_failure(self._code) or self._progress() != self._at:
            return None
        return SystemExit(self._code)

    def note(self, code: object) -> None:
        """Told by a call of an exit that is about to leave."""
        self._code, self._at = code, self._progress()

    def close(self) -> None:
        """Watch no more."""
        _exits.forget(self)


def is_failure(code: object) -> bool:
    """Whether a process that leaves with this code of SystemExit says that it has failed."""
    return not (code is None or (isinstance(code, int) and code == 0))


def _find() -> Iterator[tuple[Owner, str, MakeMethod]]:
    yield sys, "exit", _observed
    yield _sitebuiltins.Quitter, "__call__", _observed


_exits: ReplacedMethods[ExitWatch] = ReplacedMethods(_find)


def _observed(original: FunctionType) -> object:
    @functools.wraps(original)
    def leave(*arguments: object, **named: object) -> object:
        try:
            return original(*arguments, **named)
        except SystemExit as error:
            # In another thread it ends that thread alone.
            if threading.current_thread() is threading.main_thread():
                for watch in _exits.observers:
                    watch.note(error.code)
            raise

    return leave
