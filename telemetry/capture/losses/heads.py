"""The last operation of a model or of a part of its loss, which bounds what it can answer."""

from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import Node

from telemetry.capture.tensors.loss_graph import base_name, saved_dim

MAX_RESHAPES = 8
RESHAPING_NODES = frozenset(
    {
        *("Alias", "AsStrided", "Clone", "Permute", "ReshapeAlias", "Select", "Slice", "Squeeze"),
        *("T", "ToCopy", "Transpose", "UnsafeView", "Unsqueeze", "View"),
    }
)
HEAD_NODES = {
    "LogSigmoid": "log_sigmoid",
    "LogSoftmax": "log_softmax",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "Softplus": "softplus",
    "Tanh": "tanh",
}
HEAD_OPERATIONS = {
    "_log_softmax": "log_softmax",
    "_softmax": "softmax",
    "log": "log",
    "log_sigmoid_forward": "log_sigmoid",
    "relu": "relu",
    "sigmoid": "sigmoid",
    "softplus": "softplus",
    "tanh": "tanh",
}
OF_CLASSES = frozenset({"softmax", "log_softmax"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last operation before a tensor, reshaping left out.

    Attributes:
        name: Such as `sigmoid`; '' where it is none that bounds its result.
        units: What a softmax sums over; 0 for others.
    """

    name: str = ""
    units: int = 0


NO_HEAD = Head()


def head_of(output: Tensor) -> Head:
    """The last operation that the autograd graph has for an output of a model."""
    node = output.grad_fn
    for _ in range(MAX_RESHAPES):
        if node is None:
            return NO_HEAD
        base = base_name(node)
        if base in HEAD_NODES:
            return _head(node, HEAD_NODES[base])
        if base not in RESHAPING_NODES:
            return NO_HEAD
        node = node.next_functions[0][0]
    return NO_HEAD


def _head(node: Node, name: str) -> Head:
    if name not in OF_CLASSES:
        return Head(name=name)
    try:
        result = getattr(node, "_saved_result")  # noqa: B009 - no declared name
    except RuntimeError:  # it was freed, or changed in place
        return Head(name=name)
    return Head(name=name, units=int(result.shape[saved_dim(node, result.dim())]))
