"""The hooks on an optimizer's step, and on the closure that may be passed to it.

A closure runs forward and backward inside the step, perhaps many times. What its first evaluation
leaves is the gradient at the weights before the step; the later ones are at other weights.
"""

import functools
import logging
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_pre_hook
from torch.utils.hooks import RemovableHandle

from telemetry.capture.isolation.contained import contained
from telemetry.capture.isolation.untraced import untraced
from telemetry.capture.steps.entry_hook import Arguments

logger = logging.getLogger(__name__)

Closure: TypeAlias = Callable[[], object]


class StepEvents(Protocol):
    """Who is told of the steps of several optimizers, by their index."""

    def step_begins(self, index: int, optimizer: Optimizer, *, has_closure: bool) -> None:
        """`step` was called.

        Without a closure the gradients are those that the optimizer will see, and the weights those
        before.
        """
        ...

    def evaluated(self, index: int, optimizer: Optimizer, result: object) -> None:
        """The closure has run for the first time and returned this: now they are."""
        ...

    def stepped(self, index: int, optimizer: Optimizer) -> None:
        """`step` is about to return."""
        ...


def install(index: int, optimizer: Optimizer, events: StepEvents) -> list[RemovableHandle]:
    """Hook an optimizer; handles remove the hooks.

    A subclass that calls the `step` it inherits runs the hooks within its own: the gradient is that
    of the last call that begins, the step is over with the first that ends.
    """
    is_open = False

    @untraced
    def before(
        optimizer: Optimizer, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Arguments | None:
        nonlocal is_open
        is_open = True
        if len(args) > 1 or kwargs:
            closure = args[1] if len(args) > 1 else kwargs.get("closure")
            if isinstance(closure, ObservedClosure):
                return None  # handed on to the inherited step
            if callable(closure):
                events.step_begins(index, optimizer, has_closure=True)
                evaluated = functools.partial(events.evaluated, index, optimizer)
                with contained(_log_failure):
                    return _with_closure(ObservedClosure(closure, evaluated), args, kwargs)
                return None
        events.step_begins(index, optimizer, has_closure=False)
        return None

    @untraced
    def after(optimizer: Optimizer, args: object, kwargs: object) -> None:
        nonlocal is_open
        del args, kwargs
        if is_open:
            is_open = False
            events.stepped(index, optimizer)

    return [
        optimizer.register_step_pre_hook(before),
        optimizer.register_step_post_hook(after),
    ]


def install_for_others(
    own: Sequence[Optimizer], steps: Callable[[Optimizer], None]
) -> RemovableHandle:
    """Hook the steps of all other optimizers of this process; the handle removes the hook.

    One hook for all that observe them: torch calls it in every step of every optimizer.
    """
    given = frozenset(own)

    @untraced
    def begins(optimizer: Optimizer, args: object, kwargs: object) -> None:
        del args, kwargs
        if optimizer not in given:
            steps(optimizer)

    return register_optimizer_step_pre_hook(begins)


class ObservedClosure:
    """A closure that tells of its first evaluation; result and exceptions stay as they are.

    Args:
        closure: What the loop passed to `step`.
        observe: Told what the first evaluation returned.
    """

    def __init__(self, closure: Closure, observe: Callable[[object], None]) -> None:
        self._closure = closure
        self._observe: Callable[[object], None] | None = observe

    def __call__(self) -> object:
        """Evaluate it."""
        result = self._closure()
        observe, self._observe = self._observe, None
        if observe is not None:
            observe(result)
        return result


def _with_closure(
    closure: Closure, args: tuple[object, ...], kwargs: dict[str, object]
) -> Arguments:
    """The arguments of `step`, the optimizer first, with another closure."""
    if len(args) > 1:
        return (args[0], closure, *args[2:]), kwargs
    return args, {**kwargs, "closure": closure}


def _log_failure(error: Exception) -> None:
    logger.warning("telemetry: the closure of an optimizer is not observed: %s", error)
