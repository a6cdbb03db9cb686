"""No exception of telemetry reaches training; `strict=True` raises it as CaptureError instead.

The only place of the capture half that catches `Exception`.
"""

import functools
import logging
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Concatenate, ParamSpec, Protocol, Self, TypeVar

from telemetry.capture.isolation.contained import contained
from telemetry.capture.isolation.hook_scope import n_dispatch_modes, n_function_modes, undispatched
from telemetry.capture.isolation.meter import Meter, Metered
from telemetry.errors import CaptureError, TrainingStopped

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)


class Call(Protocol):
    """What a moment tells an observer with."""

    def __call__(self, *arguments: object) -> None:
        """Tell it."""
        ...


class Guard:
    """Runs parts of the recording so that a failing one switches itself off, and nothing else.

    Example:
        >>> guard = Guard(strict=False, on_failure=report)
        >>> if guard.enabled("gradients"):
        ...     with guard("gradients"):
        ...         observe_gradients()

    Args:
        strict: Raise CaptureError, with the original error as its cause, instead of going on.
        on_failure: Told the part and the error, once per part, after it was switched off.
        meter: Adds up what the training spends in guarded methods.

    Attributes:
        off: Parts that have failed.
        meter: As given, or one that nobody reads.
    """

    def __init__(
        self,
        *,
        strict: bool,
        on_failure: Callable[[str, Exception], None],
        meter: Meter | None = None,
    ) -> None:
        self.strict = strict
        self.meter = meter or Meter()
        self._on_failure = on_failure
        self.off: set[str] = set()
        # One block per part, made once: entering a guarded block costs a dictionary look-up.
        self._blocks: dict[str, _Block] = {}

    def __call__(self, part: str) -> AbstractContextManager[object]:
        """A block in which an exception switches the part off instead of leaving the block."""
        block = self._blocks.get(part)
        if block is None:
            block = self._blocks[part] = _Block(self, part)
        return block

    def run(self, calls: Iterable[tuple[str, Call]], arguments: tuple[object, ...]) -> None:
        """Call each with the arguments, unless its part has failed; faster than a block each.

        Args:
            calls: With the part of each.
            arguments: Of every call.

        Raises:
            CaptureError: with `strict`.
        """
        for part, call in calls:
            if part not in self.off:
                try:
                    call(*arguments)
                except Exception as error:  # noqa: BLE001 - what this module is for
                    self.caught(part, error)

    def metered(self) -> Metered:
        """A block of a hook that is no guarded method; its time counts as recording."""
        return Metered(self.meter)

    def enabled(self, part: str) -> bool:
        """Whether the part has not failed."""
        return part not in self.off

    def caught(self, part: str, error: Exception) -> None:
        """An exception has left a part: switch it off, or raise again what is meant to be raised.

        Raises:
            CaptureError: with `strict`.
            TrainingStopped: the user has asked for it.
        """
        if isinstance(error, TrainingStopped) or (self.strict and isinstance(error, CaptureError)):
            raise error
        self.failed(part, error)

    def failed(self, part: str, error: Exception) -> None:
        """Switch a part off because of an error: one log line, one report.

        Raises:
            CaptureError: with `strict`, every time.
        """
        if part not in self.off:
            self.off.add(part)
            logger.warning("telemetry: %s failed and is switched off", part, exc_info=error)
            with contained(_log_failed_report):
                self._on_failure(part, error)
        if self.strict:
            raise CaptureError(f"{part}: {type(error).__name__}: {error}") from error


class _Block:
    """The guarded block of one part; keeps nothing between entry and exit, so it may nest."""

    __slots__ = ("_guard", "_part")

    def __init__(self, guard: Guard, part: str) -> None:
        self._guard = guard
        self._part = part

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        self._guard.caught(self._part, error)
        return True


class _Guarded(Protocol):
    _guard: Guard


G = TypeVar("G", bound=_Guarded)


def guarded(
    part: str,
) -> Callable[[Callable[Concatenate[G, P], R]], Callable[Concatenate[G, P], R | None]]:
    """A method as a guarded block of the guard of its object, for what training calls itself.

    Once its part has failed, the method does nothing and returns None. No mode of the training sees
    what it does. Its time counts as a cost of recording. A third of the cost of a block: every step
    goes through some.

    Args:
        part: Switched off by an exception.
    """

    def decorate(method: Callable[Concatenate[G, P], R]) -> Callable[Concatenate[G, P], R | None]:
        def inner(self: G, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
            guard = self._guard
            if part in guard.off:
                return None
            is_outermost = guard.meter.start()
            try:
                if n_dispatch_modes() or n_function_modes():
                    with undispatched():
                        return method(self, *args, **kwargs)
                return method(self, *args, **kwargs)
            except Exception as error:  # noqa: BLE001 - what this module is for
                guard.caught(part, error)
                return None
            finally:
                if is_outermost:
                    guard.meter.stop()

        functools.update_wrapper(inner, method)
        return inner

    return decorate


class _Shortened(_Guarded, Protocol):
    stage: int
    is_timed: bool


Q = TypeVar("Q", bound=_Shortened)


def shortcut(
    part: str, stage: int, whole: Callable[[Q], Callable[P, R]]
) -> Callable[[Callable[Concatenate[Q, P], bool]], Callable[Concatenate[Q, P], R | None]]:
    """A method that is tried first where its turn has come; where it declines, the whole way.

    It has no block of its own, is timed only where its object says so, and is not tried within a
    mode of the training. An exception switches the part off, and what is guarded on the whole way
    with it.

    Args:
        part: Switched off by an exception.
        stage: Of the object when the turn of the method has come; the next one follows.
        whole: Tells what is called otherwise, with the same arguments.
    """

    def decorate(
        method: Callable[Concatenate[Q, P], bool],
    ) -> Callable[Concatenate[Q, P], R | None]:
        def inner(self: Q, /, *args: P.args, **kwargs: P.kwargs) -> R | None:
            if self.stage == stage and not (n_dispatch_modes() or n_function_modes()):
                self.stage = stage + 1
                guard = self._guard
                is_outermost = self.is_timed and guard.meter.start()
                try:
                    if method(self, *args, **kwargs):
                        return None
                except Exception as error:  # noqa: BLE001 - what this module is for
                    self.stage = 0
                    guard.caught(part, error)
                finally:
                    if is_outermost:
                        guard.meter.stop()
            self.stage = 0
            return whole(self)(*args, **kwargs)

        functools.update_wrapper(inner, method)
        return inner

    return decorate


def _log_failed_report(error: Exception) -> None:
    logger.warning("telemetry: an error could not be recorded as an event: %s", error)
