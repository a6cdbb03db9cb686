"""Linear maps in a row, between which nothing happens that one linear map could not do as well.

Two of them are worth telling where they are no factorisation either: one map of what the first
reads and the second returns would need no more numbers. The thin middle of an adapter or of a
linear autoencoder saves numbers, as do convolutions by groups or of a row and a column.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from torch.autograd.graph import Node

from telemetry.capture.structure.graph import Graph, leaf_of, saved, shape_of
from telemetry.capture.tensors.graph_leaves import RESHAPING, base_name

MATRIX_PRODUCTS = {"Addmm": (1, 2), "Baddbmm": (1, 2), "Bmm": (0, 1), "Mm": (0, 1)}
WITH_WEIGHT = frozenset({"Convolution", "Linear", "MkldnnConvolution", "CudnnConvolution"})
RECURRENT = frozenset({"CudnnRnn", "MiopenRnn", "MkldnnRnnLayer"})
# Affine in their first input, whatever else they read.
AFFINE = frozenset(
    {
        *("Alias", "Clone", "Expand", "Permute", "ReshapeAlias", "Select", "Slice", "Squeeze"),
        *("T", "ToCopy", "Transpose", "UnsafeView", "Unsqueeze", "View"),
        *("AdaptiveAvgPool2D", "AdaptiveAvgPool3D", "AvgPool2D", "AvgPool3D", "Mean", "Sum"),
        *("ConstantPadNd", "ReflectionPad1D", "ReflectionPad2D", "ReplicationPad2D"),
        *("UpsampleBilinear2D", "UpsampleNearest1D", "UpsampleNearest2D"),
        # One example is mapped linearly by them at evaluation.
        *("BatchNorm", "CudnnBatchNorm", "MiopenBatchNorm", "NativeBatchNorm", "NativeDropout"),
        "Neg",
    }
)
SUMS = frozenset({"Add", "Rsub", "Sub"})
MATRIX_DIMS = 2
MAX_STEPS = 8  # between two layers


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearMap:
    """One linear layer, by module or by function.

    Attributes:
        weight: A leaf.
        data: What made its input.
        n_in: Features that it reads.
        n_out: Features that it returns.
        kernel: Sizes of a convolution's kernel.
        is_own: Nothing else uses the weight, and it is no convolution by groups.
    """

    weight: Tensor
    data: Node | None
    n_in: int
    n_out: int
    kernel: tuple[int, ...] = ()
    is_own: bool

    @property
    def n(self) -> int:
        """Numbers of one place of the kernel."""
        return self.n_in * self.n_out


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two linear maps that could be one."""

    first: LinearMap
    second: LinearMap


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearMaps:
    """All linear maps of a graph.

    Attributes:
        n_weights: Matrices and kernels of all layers, recurrent ones among them.
        pairs: Those in a row that could be one.
        by_softmax: Those of which the second reads nothing but a softmax over all of the first.
    """

    n_weights: int
    pairs: tuple[Pair, ...]
    by_softmax: tuple[Pair, ...] = ()


def linear_maps(graph: Graph) -> LinearMaps:
    """What a graph has of them."""
    found = {node: each for node in graph.nodes if (each := _linear_map(node, graph)) is not None}
    weights = {id(each.weight) for each in found.values()}
    for node in graph.nodes:
        if base_name(node) in RECURRENT:
            weights |= _matrices(node)
    pairs, by_softmax = [], []
    for each in found.values():
        chosen = _before_softmax(each, found, graph)
        if chosen is not None:
            by_softmax.append(Pair(first=chosen, second=each))
        first = _before(each, found, graph)
        if first is not None and each.is_own and first.is_own and not _saves(first, each):
            pairs.append(Pair(first=first, second=each))
    return LinearMaps(
        n_weights=len(weights),
        pairs=tuple(reversed(pairs)),
        by_softmax=tuple(reversed(by_softmax)),
    )


def _matrices(node: Node) -> set[int]:
    leaves = (leaf_of(following) for following, _ in node.next_functions)
    return {id(leaf[0]) for leaf in leaves if leaf is not None and leaf[0].dim() >= MATRIX_DIMS}


def _linear_map(node: Node, graph: Graph) -> LinearMap | None:
    base = base_name(node)
    inputs = [following for following, _ in node.next_functions]
    if base in WITH_WEIGHT:
        return _with_weight(node, inputs, graph)
    places = MATRIX_PRODUCTS.get(base)
    if places is None:
        return None
    left, right = (inputs[place] for place in places)
    for weight, data, dim in ((right, left, -1), (left, right, -2)):
        leaf = leaf_of(weight)
        if leaf is None or leaf[0].dim() != MATRIX_DIMS:
            continue
        shape = shape_of(node)
        if leaf_of(data) is not None or len(shape) < MATRIX_DIMS or not shape[dim]:
            return None  # a product of two weights
        n_out = shape[dim]
        n_in = leaf[0].numel() // n_out
        own = _is_used_once(leaf[1], graph)
        return LinearMap(weight=leaf[0], data=data, n_in=n_in, n_out=n_out, is_own=own)
    return None


def _with_weight(node: Node, inputs: Sequence[Node | None], graph: Graph) -> LinearMap | None:
    data, weight = inputs[:2]
    leaf = leaf_of(weight)
    if leaf is None or leaf[0].dim() < MATRIX_DIMS:
        return None
    n_out, n_in, *kernel = leaf[0].shape
    if getattr(node, "_saved_transposed", False):
        n_out, n_in = n_in, n_out
    own = _is_used_once(leaf[1], graph) and getattr(node, "_saved_groups", 1) == 1
    return LinearMap(
        weight=leaf[0], data=data, n_in=n_in, n_out=n_out, kernel=tuple(kernel), is_own=own
    )


def _is_used_once(way: Sequence[Node], graph: Graph) -> bool:
    """Whether nothing else in the graph reads a weight: it is tied to nothing, and called once."""
    return all(len(graph.users[node]) == 1 for node in way)


def _before(second: LinearMap, found: dict[Node, LinearMap], graph: Graph) -> LinearMap | None:
    """The linear map whose result this one reads, if it alone does and all between is affine."""
    node = second.data
    while node is not None and len(graph.users[node]) == 1:
        if node in found:
            return found[node]
        node = _affine_input(node)
    return None


def _before_softmax(
    second: LinearMap, found: dict[Node, LinearMap], graph: Graph
) -> LinearMap | None:
    """The linear map whose result, by a softmax over all of its features, is all this one reads."""
    node, is_through = second.data, False
    for _ in range(MAX_STEPS):
        if node is None or len(graph.users[node]) != 1:
            return None
        if node in found:
            first = found[node]
            return first if is_through and first.n_out == second.n_in else None
        base = base_name(node)
        if base == "Softmax":
            shape = shape_of(node)
            if is_through or not shape or shape[-1] != second.n_in:
                return None
            is_through = True
        elif base not in RESHAPING:
            return None
        node = node.next_functions[0][0]
    return None


def _affine_input(node: Node) -> Node | None:
    """What an operation reads that is affine in it, up to constants and parameters; else None."""
    base = base_name(node)
    inputs = [following for following, _ in node.next_functions]
    if base in AFFINE:
        return inputs[0] if inputs else None
    read = [place for place, each in enumerate(inputs) if each is not None and not leaf_of(each)]
    if len(read) != 1:
        return None
    place = read[0]
    is_affine = base in SUMS or (base == "Div" and place == 0 and _is_number(node, "other"))
    if base == "Mul":
        is_affine = inputs[1 - place] is not None or _is_factor(node, ("other", "self")[place])
    return inputs[place] if is_affine else None


def _is_number(node: Node, name: str) -> bool:
    other = saved(node, name)
    return other is not None and other.dim() == 0


def _is_factor(node: Node, name: str) -> bool:
    """Whether what something is multiplied with cannot have been computed from it.

    A number, or the mask of a dropout, which torch on a CPU draws and scales in place; the mask of
    a rectifier written by hand is made by a comparison and never changed.
    """
    other = saved(node, name)
    if other is None:
        return False
    is_drawn = other._version > 1 and other.is_floating_point()  # noqa: SLF001 - no public name
    return other.dim() == 0 or (is_drawn and tuple(other.shape) == shape_of(node))


def _saves(first: LinearMap, second: LinearMap) -> bool:
    """Whether the two need fewer numbers than one map in their place."""
    spread = max(1, second.n_in // max(1, first.n_out))  # places of a kernel that are read at once
    if first.n + second.n < first.n_in * second.n_out * spread:
        return True
    # A kernel of a row and one of a column.
    both = tuple(zip(first.kernel, second.kernel, strict=False))
    return bool(both) and max(first.kernel) > 1 < max(second.kernel) and all(1 in k for k in both)
