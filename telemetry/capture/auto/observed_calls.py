"""Functions of other libraries whose calls are seen, and which stay as they are for the script.

The result and the exceptions are the original's, and its traceback names no file of telemetry. An
error on our side is logged once and never reaches the script.
"""

import functools
import logging
from collections.abc import Callable
from types import FunctionType
from typing import Concatenate, ParamSpec, TypeVar

from telemetry.capture.isolation.contained import contained

P = ParamSpec("P")
R = TypeVar("R")

logger = logging.getLogger(__name__)


def seen_before(original: Callable[P, R], see: Callable[P, object], part: str) -> Callable[P, R]:
    """The same function; `see` gets its arguments before it runs.

    Args:
        original: What the script calls.
        see: An error in it is logged once, and then it is called no more.
        part: What is lost then, as a plural.
    """
    watch = _contained(see, part)

    @functools.wraps(original)
    def seen(*args: P.args, **kwargs: P.kwargs) -> R:
        watch(*args, **kwargs)
        try:
            return original(*args, **kwargs)
        except BaseException as error:
            _leave_out_this_frame(error)
            raise

    return seen


def seen_after(
    original: Callable[P, R], see: Callable[Concatenate[R, P], object], part: str
) -> Callable[P, R]:
    """The same function; `see` gets what it has returned, then its arguments."""
    watch = _contained(see, part)

    @functools.wraps(original)
    def seen(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            result = original(*args, **kwargs)
        except BaseException as error:
            _leave_out_this_frame(error)
            raise
        watch(result, *args, **kwargs)
        return result

    return seen


def replace_method(owner: type, name: str, make: Callable[[FunctionType], object]) -> None:
    """Put what is made of a method in its place, where the class has it as a plain function."""
    original = vars(owner).get(name)
    if isinstance(original, FunctionType):
        setattr(owner, name, make(original))


def _contained(see: Callable[P, object], part: str) -> Callable[P, None]:
    """The same, without its exceptions; after the first one it does nothing."""
    failed: list[Exception] = []

    def on_failure(error: Exception) -> None:
        failed.append(error)
        logger.warning(
            "telemetry: %s are no longer recorded: %s: %s",
            part,
            type(error).__name__,
            error,
        )

    def watch(*args: P.args, **kwargs: P.kwargs) -> None:
        if not failed:
            with contained(on_failure):
                see(*args, **kwargs)

    return watch


def _leave_out_this_frame(error: BaseException) -> None:
    """Called where a caught error is about to be raised again, which adds no frame."""
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next
