"""Hooks of a remedy from which no error reaches the training: the remedy is switched off instead.

What the training calls stays in place, for hooks cannot be removed while they run: it does nothing
any more, or what stood there before.
"""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from telemetry.capture.isolation.guard import Guard
from telemetry.capture.remedy import Function

P = ParamSpec("P")
R = TypeVar("R")


def contained_hook(guard: Guard, part: str, hook: Callable[P, R]) -> Callable[P, R | None]:
    """The hook; nothing is done, and None returned, once the remedy has failed.

    Args:
        guard: Of the treatment.
        part: The remedy.
        hook: What a remedy has attached.
    """

    def inner(*arguments: P.args, **named: P.kwargs) -> R | None:
        if guard.enabled(part):
            with guard(part):
                return hook(*arguments, **named)
        return None

    return inner


def contained_stand_in(
    guard: Guard,
    part: str,
    former: Function[R],
    make: Callable[[Function[R]], Function[R]],
) -> Function[R]:
    """A function in the place of another, which acts itself once the remedy has failed.

    An error of the former one is the script's, and goes through.

    Args:
        guard: Of the treatment.
        part: The remedy.
        former: The function that is stood in for.
        make: From it to what stands there.
    """
    of_the_script: list[BaseException] = []

    @functools.wraps(former)
    def original(*arguments: object, **named: object) -> R:
        try:
            return former(*arguments, **named)
        except BaseException as error:
            of_the_script[:] = [error]
            raise

    value = make(original)

    @functools.wraps(former)
    def inner(*arguments: object, **named: object) -> R:
        if guard.enabled(part):
            try:
                return value(*arguments, **named)
            except Exception as error:
                if error in of_the_script:
                    raise
                guard.caught(part, error)
            finally:
                of_the_script.clear()
        return former(*arguments, **named)

    return inner
