"""The inputs of a known loss, found in the autograd graph before backward frees it.

A bounded walk from the backward roots through means, sums and weighted sums finds the node of a
known loss; what it saved for backward are its input and its target. No Python-level call of the
training script is patched for that.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from torch import Tensor
from torch.autograd.graph import Node

MAX_NODES = 64  # of one walk; a sum of a few losses has fewer than ten
MAX_LOSSES = 8  # equal losses that one root may sum up, as a discriminator's two
FIRST_LOGITS = "telemetry_first_logits"
WEIGHTING = frozenset({"Div", "Mean", "Neg", "Squeeze", "Sum", "ToCopy", "Unsqueeze", "View"})
COMBINING = WEIGHTING | {
    *("Add", "Cat", "Clone", "Exp", "Expand", "Index", "MaskedSelect", "Mul", "Pow"),
    *("ReshapeAlias", "Rsub", "Select", "Stack", "Sub", "Unbind", "UnsafeView", "Where"),
}
RESHAPING = frozenset(
    {"Alias", "ReshapeAlias", "Squeeze", "ToCopy", "UnsafeView", "Unsqueeze", "View"}
)
SIGNED_64 = 1 << 63


class LossOp(StrEnum):
    """Losses whose input and target the graph keeps."""

    CROSS_ENTROPY = "cross_entropy"
    NLL = "nll_loss"
    BCE_WITH_LOGITS = "binary_cross_entropy_with_logits"
    BCE = "binary_cross_entropy"
    MSE = "mse_loss"
    SMOOTH_L1 = "smooth_l1_loss"
    HUBER = "huber_loss"


CLASS_LOSSES = {"NllLoss": 1, "NllLoss2D": 1}
DENSE_LOSSES = {
    "BinaryCrossEntropyWithLogits": LossOp.BCE_WITH_LOGITS,
    "BinaryCrossEntropy": LossOp.BCE,
    "MseLoss": LossOp.MSE,
    "SmoothL1Loss": LossOp.SMOOTH_L1,
    "HuberLoss": LossOp.HUBER,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LossInputs:
    """What one loss read; tensors are detached.

    Attributes:
        op: Which loss.
        scores: Log-probabilities for the class losses (the logits up to a constant per row),
            logits or probabilities for the binary ones, predictions otherwise.
        class_dim: Dimension of the classes in `scores`, None where classes are not a dimension.
        target: Class numbers, or values of the shape of `scores`; None for soft targets.
        ignored: Class number that does not count.
        first_logits: The first logit of each row before log_softmax, where it is known.
        probabilities: Output of a softmax that was passed where logits are expected.
    """

    op: LossOp
    scores: Tensor
    class_dim: int | None = None
    target: Tensor | None = None
    ignored: int | None = None
    first_logits: Tensor | None = None
    probabilities: Tensor | None = None


def losses_of(roots: Sequence[Tensor]) -> list[LossInputs]:
    """Inputs of the losses nearest to the roots: all of the first kind found, at most eight.

    A tensor that was changed in place or freed since cannot be read; its loss is left out.
    """
    found: list[LossInputs] = []
    soft: list[LossInputs] = []
    for node, soft_parent in _walk(roots):
        try:
            loss = _class_loss(node) or _dense_loss(node)
            if loss is not None:
                found.append(loss)
            elif soft_parent and base_name(node) == "LogSoftmax":
                soft.append(_log_softmax_loss(node))
        except RuntimeError:
            continue
    found = found or soft
    kind = [(loss.op, _n_classes(loss)) for loss in found]
    return [loss for loss, own in zip(found, kind, strict=True) if own == kind[0]][:MAX_LOSSES]


def note_first_logits(output: Tensor) -> None:
    """Keep the first logit of each row of a model's output with its autograd node.

    log_softmax saves its result alone; with one logit per row the log-partition comes back
    exactly: lse = x_0 - log p_0. The copy lives and dies with the graph.
    """
    node = output.grad_fn
    if node is None or output.dim() < 2:  # noqa: PLR2004 - rows of classes
        return
    values = output.detach()
    _metadata(node)[FIRST_LOGITS] = {
        dim: values.select(dim, 0).reshape(-1).clone() for dim in {1, values.dim() - 1}
    }


def _walk(roots: Sequence[Tensor]) -> Iterator[tuple[Node, bool]]:
    """Nodes in breadth-first order, each with whether it is the factor of a weighted sum."""
    queue: deque[tuple[Node, bool, bool]] = deque(
        (root.grad_fn, True, False) for root in roots if root.grad_fn is not None
    )
    # Nodes are held while the walk lasts, so that an id is not given twice.
    seen: dict[int, Node] = {}
    while queue and len(seen) < MAX_NODES:
        node, weighted, is_factor = queue.popleft()
        if id(node) in seen:
            continue
        seen[id(node)] = node
        yield node, is_factor
        base = base_name(node)
        if base not in COMBINING:
            continue
        inputs = [following for following, _ in node.next_functions]
        # Soft targets: sum of (log_softmax times a constant); a sum with other terms, such as a
        # divergence or an entropy bonus, is none.
        factor = weighted and base == "Mul" and sum(i is not None for i in inputs) == 1
        queue.extend((i, weighted and base in WEIGHTING, factor) for i in inputs if i is not None)


def base_name(node: Node) -> str:
    """What a node differentiates, such as `LogSoftmax`."""
    return node.name().rpartition("Backward")[0].rpartition("::")[2]


def _class_loss(node: Node) -> LossInputs | None:
    if base_name(node) not in CLASS_LOSSES:
        return None
    scores = _saved(node, "self")
    common = LossInputs(
        op=LossOp.NLL,
        scores=scores,
        class_dim=1 if scores.dim() > 1 else 0,
        target=_saved(node, "target"),
        ignored=int(getattr(node, "_saved_ignore_index")),  # noqa: B009 - no declared name
    )
    producer = _through(node.next_functions[0][0])
    if producer is None or base_name(producer) != "LogSoftmax":
        return common
    first, probabilities = _before_log_softmax(producer)
    return LossInputs(
        op=LossOp.CROSS_ENTROPY,
        scores=common.scores,
        class_dim=common.class_dim,
        target=common.target,
        ignored=common.ignored,
        first_logits=first,
        probabilities=probabilities,
    )


def _log_softmax_loss(node: Node) -> LossInputs:
    scores = _saved(node, "result")
    first, probabilities = _before_log_softmax(node)
    return LossInputs(
        op=LossOp.CROSS_ENTROPY,
        scores=scores,
        class_dim=saved_dim(node, scores.dim()),
        first_logits=first,
        probabilities=probabilities,
    )


def _dense_loss(node: Node) -> LossInputs | None:
    op = DENSE_LOSSES.get(base_name(node))
    if op is None:
        return None
    return LossInputs(op=op, scores=_saved(node, "self"), target=_saved(node, "target"))


def _before_log_softmax(node: Node) -> tuple[Tensor | None, Tensor | None]:
    """First logits of the rows, and the probabilities if a softmax was put before."""
    scores = _saved(node, "result")
    dim = saved_dim(node, scores.dim())
    producer = node.next_functions[0][0]
    probabilities = None
    softmax = _through(producer)
    if softmax is not None and base_name(softmax) == "Softmax":
        result = _saved(softmax, "result")
        probabilities = result.movedim(saved_dim(softmax, result.dim()), -1)
    for step in _reshapes(producer):
        noted = _metadata(step).get(FIRST_LOGITS)
        if isinstance(noted, dict):
            # Flattening (N, T, C) to (N*T, C) keeps the last dimension last and the row order.
            wanted = max(noted) if dim == scores.dim() - 1 else dim
            first = noted.get(wanted)
            n_rows = scores.numel() // scores.shape[dim]
            matches = isinstance(first, Tensor) and first.numel() == n_rows
            return (first if matches else None), probabilities
    return None, probabilities


def _reshapes(node: Node | None) -> Iterator[Node]:
    """The node and what it is a reshaped form of, nearest first."""
    for _ in range(MAX_LOSSES):
        if node is None:
            return
        yield node
        if base_name(node) not in RESHAPING:
            return
        node = node.next_functions[0][0]


def _through(node: Node | None) -> Node | None:
    found = list(_reshapes(node))
    return found[-1] if found else None


def _metadata(node: Node) -> dict[str, object]:
    """What lives as long as the node; declared as a method, but a dictionary in fact."""
    found: object = node.metadata
    return found if isinstance(found, dict) else {}


def _saved(node: Node, name: str) -> Tensor:
    value = getattr(node, f"_saved_{name}")
    if not isinstance(value, Tensor):
        raise RuntimeError(f"{node.name()} saved no {name}, so the loss cannot be read.")  # noqa: TRY004 - as torch itself does for a freed one
    return value.detach()


def saved_dim(node: Node, n_dims: int) -> int:
    """The dimension that a node was told, counted from the front."""
    dim = int(getattr(node, "_saved_dim"))  # noqa: B009 - no declared name
    # Negative dimensions come back as unsigned 64-bit numbers.
    return (dim - 2 * SIGNED_64 if dim >= SIGNED_64 else dim) % n_dims


def _n_classes(loss: LossInputs) -> int:
    return 2 if loss.class_dim is None else loss.scores.shape[loss.class_dim]
