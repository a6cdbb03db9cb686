"""Whose a backward pass is: that of the model whose parameters its graph reaches.

With one callback open, a pass that follows a training forward of its model is taken to be its own,
at no cost. Else the graph is walked from the roots: a few nodes where it is, the whole graph of
another model's loss where it is not.
"""

from collections.abc import Sequence
from threading import get_ident

from torch import Tensor

from telemetry.capture.catalogue.catalogue import Catalogue
from telemetry.capture.environment import open_callbacks

MAX_NODES = 20_000  # about 20 ms of a walk; what is larger counts as the forwards say
CHECKPOINT = "CheckpointFunctionBackward"  # reentrant: what it reaches is not in the graph yet


def is_own(catalogue: Catalogue, roots: Sequence[Tensor], *, forward_thread: int) -> bool:
    """Whether a backward pass that starts on this thread belongs to a model.

    Args:
        catalogue: Of the model and its optimizers.
        roots: What the pass starts from.
        forward_thread: The thread of the step's training forwards; 0: there was none.
    """
    if forward_thread and is_alone():
        return True
    if forward_thread not in {0, get_ident()}:
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
