"""The hooks on an optimizer's step, and on the closure that may be passed to it.

A closure runs forward and backward inside the step, perhaps many times. What its first evaluation
leaves is the gradient at the weights before the step; the later ones are at other weights.
"""

from collections.abc import Callable, Mapping
from typing import Protocol, TypeAlias

from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from telemetry.capture.untraced import untraced

Closure: TypeAlias = Callable[[], object]
Arguments: TypeAlias = tuple[tuple[object, ...], dict[str, object]]


class StepEvents(Protocol):
    """Who is told of the steps of several optimizers, by their index."""

    def step_begins(self, index: int, optimizer: Optimizer) -> None:
        """`step` was called."""
        ...

    def evaluated(self, result: object) -> None:
        """The closure has run for the first time and returned this."""
        ...

    def gradients_are_ready(self, index: int, optimizer: Optimizer) -> None:
        """The gradients are those that the optimizer will see, the weights those before."""
        ...

    def stepped(self, index: int, optimizer: Optimizer) -> None:
        """`step` is about to return."""
        ...


def install(index: int, optimizer: Optimizer, events: StepEvents) -> list[RemovableHandle]:
    """Hook an optimizer; handles remove the hooks."""

    @untraced
    def before(
        optimizer: Optimizer, args: tuple[object, ...], kwargs: dict[str, object]
    ) -> Arguments | None:
        events.step_begins(index, optimizer)
        if len(args) > 1 or kwargs:
            observed = with_closure_observed(args, kwargs, evaluated)
            if observed is not None:
                return observed
        events.gradients_are_ready(index, optimizer)
        return None

    def evaluated(result: object) -> None:
        events.evaluated(result)
        events.gradients_are_ready(index, optimizer)

    @untraced
    def after(optimizer: Optimizer, args: object, kwargs: object) -> None:
        del args, kwargs
        events.stepped(index, optimizer)

    return [
        optimizer.register_step_pre_hook(before),
        optimizer.register_step_post_hook(after),
    ]


def with_closure_observed(
    args: tuple[object, ...], kwargs: Mapping[str, object], observe: Callable[[object], None]
) -> Arguments | None:
    """The arguments of `step` with a closure that tells when its first evaluation is over.

    Args:
        args: Positional arguments, the optimizer first, as a step pre-hook gets them.
        kwargs: Keyword arguments.
        observe: Told what the first evaluation returned; its gradients are those at the weights
            before the step.

    Returns:
        None if there is no closure.
    """
    closure = args[1] if len(args) > 1 else kwargs.get("closure")
    if not callable(closure):
        return None
    observed = _Observed(closure, observe)
    if len(args) > 1:
        return (args[0], observed, *args[2:]), dict(kwargs)
    return args, {**kwargs, "closure": observed}


class _Observed:
    """A closure that tells of its first evaluation; result and exceptions stay as they are."""

    def __init__(self, closure: Closure, observe: Callable[[object], None]) -> None:
        self._closure = closure
        self._observe: Callable[[object], None] | None = observe

    def __call__(self) -> object:
        result = self._closure()
        observe, self._observe = self._observe, None
        if observe is not None:
            observe(result)
        return result
