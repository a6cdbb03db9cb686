"""A block whose exceptions go to a function. Loads nothing: Python's start may need it."""

from collections.abc import Callable
from types import TracebackType
from typing import Self


class contained:  # noqa: N801 - reads like contextlib's own
    """A block whose exceptions go to a function instead of to the caller.

    Args:
        on_failure: Told the error; must not raise.
    """

    __slots__ = ("_on_failure",)

    def __init__(self, on_failure: Callable[[Exception], None]) -> None:
        self._on_failure = on_failure

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._on_failure(error)
        return True
