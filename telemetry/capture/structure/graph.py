"""The autograd graph of a loss, read once, before the backward pass frees it.

Operations are told by their names and by the shapes of what they returned, which cost nothing to
look at. A tensor that an operation saved is read only where no hook stands between: with one, as
under activation checkpoints, reading would run a part of the forward again.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import Node

from telemetry.capture.tensors.graph_leaves import RESHAPING, base_name

MAX_SCALARS = 64  # nodes between a root and what is no scalar
SIGNED_64 = 1 << 63
Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Graph:
    """Every operation that a loss was made of.

    Attributes:
        nodes: Each once, those of the roots first.
        users: By node: the operations that read its result, one entry for each place.
        outputs: The operations nearest to the roots whose results are no scalars: mostly what the
            loss function was given.
    """

    nodes: tuple[Node, ...]
    users: Mapping[Node, Sequence[Node]]
    outputs: tuple[Node, ...]

    def after(self, first: Node) -> set[Node]:
        """A node and all that depends on it."""
        found, waiting = {first}, [first]
        while waiting:
            for user in self.users.get(waiting.pop(), ()):
                if user not in found:
                    found.add(user)
                    waiting.append(user)
        return found


def graph_of(roots: Sequence[Tensor], *, limit: int) -> Graph | None:
    """The graph of a backward pass; None where it has more nodes than the limit."""
    first = [root.grad_fn for root in roots if root.grad_fn is not None]
    users: dict[Node, list[Node]] = {node: [] for node in first}
    waiting = deque(users)
    while waiting:
        node = waiting.popleft()
        for following, _ in node.next_functions:
            if following is None:
                continue
            known = users.get(following)
            if known is None:
                if len(users) >= limit:
                    return None
                users[following] = known = []
                waiting.append(following)
            known.append(node)
    return Graph(nodes=tuple(users), users=users, outputs=_outputs(first))


def _outputs(first: Sequence[Node]) -> tuple[Node, ...]:
    found: list[Node] = []
    waiting, seen = deque(first), set(first)
    while waiting and len(seen) < MAX_SCALARS:
        node = waiting.popleft()
        if shape_of(node):
            found.append(node)
            continue
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                waiting.append(following)
    return tuple(found)


def shape_of(node: Node, place: int = 0) -> Shape:
    """Shape of what an operation returned; empty where that is not known."""
    known = getattr(node, "_input_metadata", None)  # of the backward: what the forward returned
    if not known or place >= len(known):
        return ()
    return tuple(int(size) for size in getattr(known[place], "shape", ()))


def saved(node: Node, name: str) -> Tensor | None:
    """A tensor that an operation keeps for its backward; None where reading it would do harm."""
    if is_hidden(node, name):
        return None
    try:
        value = getattr(node, f"_saved_{name}")
    except RuntimeError:  # changed in place since, or freed
        return None
    return value.detach() if isinstance(value, Tensor) else None


def is_hidden(node: Node, name: str) -> bool:
    """Whether a hook would have to run before a tensor is there; torch 2.6 does not tell."""
    raw = getattr(node, f"_raw_saved_{name}", None)
    return raw is None or getattr(raw, "unpack_hook", raw) is not None


def saved_dim(node: Node) -> int:
    """The dimension along which an operation works, counted from the front."""
    dim = int(getattr(node, "_saved_dim"))  # noqa: B009 - no declared name
    # Negative dimensions come back as unsigned 64-bit numbers.
    return (dim - 2 * SIGNED_64 if dim >= SIGNED_64 else dim) % max(1, len(shape_of(node)))


def leaf_of(node: Node | None) -> tuple[Tensor, tuple[Node, ...]] | None:
    """A leaf tensor that this is or only reshapes, and the nodes on the way to it."""
    way: list[Node] = []
    while node is not None:
        way.append(node)
        variable = None if node.next_functions else getattr(node, "variable", None)
        if isinstance(variable, Tensor):
            return variable, tuple(way)
        if base_name(node) not in RESHAPING:
            return None
        node = node.next_functions[0][0]
    return None
