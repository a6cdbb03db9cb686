"""The leaf tensors that a graph ends in: one bounded walk from its roots."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from torch import Tensor
from torch.autograd.graph import Node

RESHAPING = frozenset({"Expand", "Permute", "T", "ToCopy", "Transpose", "Unsqueeze", "View"})


class Leaf(NamedTuple):
    """A tensor that requires a gradient and that no operation has made.

    Attributes:
        tensor: Itself.
        user: The operation that uses it, past what only reshapes it.
    """

    tensor: Tensor
    user: Node

    @property
    def operation(self) -> str:
        """Name of the operation, such as `Addmm`."""
        return base_name(self.user)


def base_name(node: Node) -> str:
    """What a node is the backward of, without numbers: `Convolution` of `ConvolutionBackward0`."""
    return node.name().rpartition("Backward")[0].rpartition("::")[2]


def leaves(
    roots: Sequence[Tensor], *, limit: int, ends: Collection[Tensor] = ()
) -> tuple[Leaf, ...] | None:
    """Leaf tensors that are reached from the roots, each once; None where there are more nodes.

    Args:
        roots: Where the graph begins, before it is freed.
        limit: Nodes that are looked at.
        ends: Tensors that are not looked behind, and are no leaves themselves.
    """
    stop = {end.grad_fn for end in ends if end.grad_fn is not None}
    known = {id(end) for end in ends if end.grad_fn is None}
    waiting = [
        (root.grad_fn, root.grad_fn)
        for root in roots
        if root.grad_fn is not None and root.grad_fn not in stop
    ]
    seen = {node for node, _ in waiting}
    found: list[Leaf] = []
    while waiting:
        node, user = waiting.pop()
        if len(seen) > limit:
            return None
        variable = None if node.next_functions else getattr(node, "variable", None)
        if isinstance(variable, Tensor) and id(variable) not in known:
            known.add(id(variable))
            found.append(Leaf(variable, user))
        using = user if base_name(node) in RESHAPING else node
        for following, _ in node.next_functions:
            if following is not None and following not in seen and following not in stop:
                seen.add(following)
                waiting.append((following, using))
    return tuple(found)
