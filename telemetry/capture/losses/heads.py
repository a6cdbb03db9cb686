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
CHAIN_NODES = {**HEAD_NODES, "Exp": "exp", "Log": "log"}
CLIPPING_NODES = frozenset({"Clamp", "ClampMax", "ClampMin"})  # leave an output what it is
# What they return may have either sign.
LINEAR_NODES = frozenset(
    {
        *("Addmm", "Convolution", "ConvolutionOverrideable", "CudnnConvolution", "Linear"),
        *("NativeBatchNorm", "CudnnBatchNorm", "NativeLayerNorm"),
    }
)
PRODUCT_NODES = frozenset({"Add", "Bmm", "Mm"})  # linear if a parameter is what they read as well
LINEAR = "linear"
MAX_CHAIN = 16  # nodes


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The last operation before a tensor, reshaping left out.

    Attributes:
        name: Such as `sigmoid`; '' where it is none that bounds its result.
        units: What a softmax sums over; 0 for others.
        dim: The dimension it sums over, counted from the front.
    """

    name: str = ""
    units: int = 0
    dim: int = 0


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


def head_chain(output: Tensor) -> tuple[str, ...]:
    """The last operations before an output, `linear` first if they follow a linear layer."""
    node, found = output.grad_fn, []
    for _ in range(MAX_CHAIN):
        if node is None:
            break
        base = base_name(node)
        if base in LINEAR_NODES or (base in PRODUCT_NODES and _reads_parameter(node)):
            found.append(LINEAR)
            break
        if base in CHAIN_NODES:
            found.append(CHAIN_NODES[base])
        elif base not in RESHAPING_NODES | CLIPPING_NODES:
            break
        node = node.next_functions[0][0]
    return tuple(reversed(found))


def _reads_parameter(node: Node) -> bool:
    return any(
        following is not None and _is_parameter(following) for following, _ in node.next_functions
    )


def _is_parameter(node: Node) -> bool:
    for _ in range(MAX_RESHAPES):
        base = base_name(node)
        following = node.next_functions[0][0] if node.next_functions else None
        if base in RESHAPING_NODES | {"Expand"} and following is not None:
            node = following
            continue
        return hasattr(node, "variable")  # a leaf, whose gradient is added up
    return False


def _head(node: Node, name: str) -> Head:
    if name not in OF_CLASSES:
        return Head(name=name)
    try:
        result = getattr(node, "_saved_result")  # noqa: B009 - no declared name
    except RuntimeError:  # it was freed, or changed in place
        return Head(name=name)
    dim = saved_dim(node, result.dim())
    return Head(name=name, units=int(result.shape[dim]), dim=dim)
