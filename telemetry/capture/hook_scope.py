"""What stands around the work of a hook: a clock, and no dispatch mode."""

import time
from contextlib import AbstractContextManager
from types import TracebackType

import torch


class Clock:
    """Adds up the time of blocks; they do not nest."""

    __slots__ = ("_started_s", "total_s")

    def __init__(self) -> None:
        self.total_s = 0.0
        self._started_s = 0.0

    def __enter__(self) -> None:
        self._started_s = time.perf_counter()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.total_s += time.perf_counter() - self._started_s


def undispatched() -> AbstractContextManager[object]:
    """What is measured inside a forward does not go through the dispatch mode around it."""
    return torch._C._DisableTorchDispatch()  # noqa: SLF001 - no public name
