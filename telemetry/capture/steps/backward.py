"""Sees every `backward()` call before it runs, and after, through `torch.autograd.backward`.

`Tensor.backward` looks that function up on each call, so one observed function sees both forms.
It is installed while somebody observes and put back with the last observer.

A pass belongs to the model whose parameters its graph reaches. With one callback open, a pass that
follows a training forward of its model is taken to be its own, at no cost. Else the graph is walked
from the roots: a few nodes where it is, the whole graph of another model's loss where it is not.
"""

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias, cast

import torch
from torch import Tensor

from telemetry.capture.catalogue.catalogue import Catalogue
from telemetry.capture.environment import open_callbacks
from telemetry.capture.isolation.torch_state import NO_PASS, graph_task
from telemetry.capture.isolation.untraced import untraced

Waiting: TypeAlias = list[Callable[[Sequence[Tensor]], None]]
RootsObserver: TypeAlias = Callable[[Sequence[Tensor], Waiting], None]

MAX_NODES = 20_000  # about 20 ms of a walk; what is larger counts as the forwards say
CHECKPOINT = "CheckpointFunctionBackward"  # reentrant: what it reaches is not in the graph yet


class _Backward(Protocol):
    def __call__(
        self, tensors: Tensor | Sequence[Tensor], *args: object, **kwargs: object
    ) -> None: ...


class Observers:
    """Who is told of backward passes now."""

    __slots__ = ("present",)

    def __init__(self) -> None:
        self.present: tuple[RootsObserver, ...] = ()


_lock = threading.Lock()
_observers = Observers()
_original: _Backward | None = None


def observe(observer: RootsObserver) -> None:
    """Call `observer` before each backward pass, on the thread that starts it.

    Args:
        observer: Told the roots, and the list of those who want to be told when the pass has ended
            without an exception; it may be added to as long as the pass runs.
    """
    global _original  # noqa: PLW0603 - there is one torch.autograd to observe
    with _lock:
        _observers.present = (*_observers.present, observer)
        if _original is None:
            _original = cast("_Backward", torch.autograd.backward)
            torch.autograd.backward = observed(_original, _observers)  # type: ignore[assignment]


def forget(observer: RootsObserver) -> None:
    """Stop calling `observer`; the last one out puts torch's function back."""
    global _original  # noqa: PLW0603 - as above
    with _lock:
        # By equality: a bound method is a new object each time.
        _observers.present = tuple(one for one in _observers.present if one != observer)
        current = torch.autograd.backward
        if (
            not _observers.present
            and _original is not None
            and hasattr(current, "telemetry_observed")
        ):
            torch.autograd.backward = _original  # type: ignore[assignment]
            _original = None


def observed(original: _Backward, observers: Observers) -> _Backward:
    """A backward function that tells these observers."""

    @functools.wraps(original)
    def backward(tensors: Tensor | Sequence[Tensor], *args: object, **kwargs: object) -> None:
        roots, waiting = _begun(tensors, observers)
        original(tensors, *args, **kwargs)
        if waiting:
            _ended(roots, waiting)

    backward.telemetry_observed = True  # type: ignore[attr-defined]
    return backward


# Where a training step is compiled, torch breaks the graph at its backward pass.
@untraced
def _begun(
    tensors: Tensor | Sequence[Tensor], observers: Observers
) -> tuple[tuple[Tensor, ...], Waiting]:
    waiting: Waiting = []
    if graph_task() != NO_PASS:  # a reentrant checkpoint, or a hook: the pass around it is the one
        return (), waiting
    roots: tuple[Tensor, ...]
    if isinstance(tensors, Tensor):
        roots = (tensors,)
    else:
        roots = tuple(root for root in tensors if isinstance(root, Tensor))  # no edges
    told = observers.present
    for observer in told:
        observer(roots, waiting)
    newcomers = observers.present
    if newcomers is not told:  # one that was told let another in, which sees this pass too
        for observer in newcomers:
            if observer not in told:
                observer(roots, waiting)
    return roots, waiting


@untraced
def _ended(roots: tuple[Tensor, ...], waiting: Waiting) -> None:
    for told in waiting:
        told(roots)


def is_own(catalogue: Catalogue, roots: Sequence[Tensor], *, forward_thread: int) -> bool:
    """Whether a backward pass that starts on this thread belongs to a model.

    Args:
        catalogue: Of the model and its optimizers.
        roots: What the pass starts from.
        forward_thread: The thread of the step's training forwards; 0: there was none.
    """
    if forward_thread and is_alone():
        return True
    if forward_thread not in {0, threading.get_ident()}:
        return False
    reached = reaches(catalogue, roots)
    if reached is None or (not reached and _is_hidden(catalogue)):
        return bool(forward_thread) or is_alone()
    return reached


def is_alone() -> bool:
    """Whether no more than one callback is open in this process."""
    return open_callbacks.n_open() <= 1


def reaches(catalogue: Catalogue, roots: Sequence[Tensor]) -> bool | None:
    """Whether a backward pass would arrive at a known parameter; None where that is not seen.

    Args:
        catalogue: Of the parameters.
        roots: What the pass starts from.
    """
    if any(root.grad_fn is None and catalogue.entry(root) is not None for root in roots):
        return True
    waiting = [root.grad_fn for root in roots if root.grad_fn is not None]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        following = node.next_functions
        if not following:
            variable = getattr(node, "variable", None)
            if isinstance(variable, Tensor) and catalogue.entry(variable) is not None:
                return True
        elif len(seen) > MAX_NODES or node.name() == CHECKPOINT:
            return None
        for after, _ in following:
            if after is not None and after not in seen:
                seen.add(after)
                waiting.append(after)
    return False


def _is_hidden(catalogue: Catalogue) -> bool:
    """Whether the forward runs on other tensors than the parameters, as that of FSDP2 does."""
    return hasattr(next(catalogue.model.parameters(), None), "placements")
