"""What stands around the work of a hook: no mode."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType

import torch

NO_MODE = nullcontext()


class Undispatched:
    """A block whose operations no mode around it sees, be it of dispatch or of functions.

    Neither the training's own modes nor the one that observes a forward; modes are left where they
    are. Distributed tensors are not operated on in here, but their local parts.
    """

    __slots__ = ("_dispatch", "_function")

    def __init__(self) -> None:
        self._dispatch = torch._C._DisableTorchDispatch()  # noqa: SLF001 - no public name
        self._function = torch._C.DisableTorchFunction()  # noqa: SLF001

    def __enter__(self) -> None:
        self._dispatch.__enter__()  # type: ignore[no-untyped-call]
        self._function.__enter__()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._function.__exit__(kind, error, trace)
        self._dispatch.__exit__(kind, error, trace)


# How many modes of each kind are around this thread's operations; every guarded call asks.
n_dispatch_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack  # noqa: SLF001 - no public name
n_function_modes: Callable[[], int] = torch._C._len_torch_function_stack  # noqa: SLF001


def another_mode(*, than_own: bool) -> bool:
    """Whether the training has a dispatch mode around it.

    Args:
        than_own: One of those around it is that which observes the forward.
    """
    return n_dispatch_modes() > than_own


def undispatched() -> AbstractContextManager[object]:
    """What is measured does not go through the modes around it."""
    return Undispatched() if n_dispatch_modes() or n_function_modes() else NO_MODE
