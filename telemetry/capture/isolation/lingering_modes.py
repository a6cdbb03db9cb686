"""Dispatch modes that stay on after the forward they were put around, until its loss is known.

Between a forward and its backward pass the training may enter and leave modes of its own: one of
ours is taken from wherever it stands on the stack, and the others stay as they are.
"""

import threading

from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _get_current_dispatch_mode,
    _get_current_dispatch_mode_stack,
    _pop_mode,
    _push_mode,
)


class _OfThread(threading.local):
    """Modes that linger on this thread."""

    def __init__(self) -> None:
        self.modes: list[TorchDispatchMode] = []


_lingering = _OfThread()


def let_linger(mode: TorchDispatchMode) -> None:
    """A mode stays on this thread until it is taken away."""
    if mode not in _lingering.modes:
        _lingering.modes.append(mode)


def take_away_others(own: TorchDispatchMode) -> None:
    """A forward of a recorded model begins: modes that wait for the loss of another end here."""
    for mode in list(_lingering.modes):
        if mode is not own:
            take_away(mode)


def take_away(mode: TorchDispatchMode) -> bool:
    """Leave a mode wherever it stands; whether it is not on this thread's stack any more."""
    if mode in _lingering.modes:
        _lingering.modes.remove(mode)
    if _get_current_dispatch_mode() is mode:
        mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
        return True
    stack = _get_current_dispatch_mode_stack()
    if mode not in stack:
        return False
    above = stack[stack.index(mode) + 1 :]
    for _ in above:
        _pop_mode()
    _pop_mode()
    for other in above:
        _push_mode(other)
    _hand_on_flags(mode, above[0])
    return True


def _hand_on_flags(mode: TorchDispatchMode, above: TorchDispatchMode) -> None:
    """What torch's flags were before this mode is what the next one above puts back."""
    for name, flags in vars(mode).items():
        if name.startswith("old_") and name.endswith("_flags") and flags:
            kept = getattr(above, name, None)
            if kept:
                kept[-1] = flags.pop()
