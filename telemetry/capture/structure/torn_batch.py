"""Views that take parts of several samples for one.

A view keeps the order of numbers and gives them other sizes. Where the samples are one of the
dimensions before, and afterwards lie along none, although one is as long as the batch, a transpose
was meant: states of a recurrent layer, (directions, batch, width), that are viewed as (batch,
directions x width); a batch first that is viewed as (time, batch, features).

Where the samples are is known of recurrent layers, of embeddings of the model's input and of matrix
products with as many rows as there are samples; transposes and functions of single numbers are
followed from there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from telemetry.capture.structure.graph import SIGNED_64, Graph, Shape, saved, shape_of
from telemetry.capture.tensors.graph_leaves import base_name
from telemetry.capture.tensors.inputs import leaves_in

VIEWS = frozenset({"ReshapeAlias", "UnsafeView", "View"})
SAME_PLACES = frozenset(
    {
        *("Alias", "Clone", "Elu", "Gelu", "LeakyRelu", "NativeDropout", "Relu", "Sigmoid"),
        *("Silu", "Softplus", "Tanh", "ToCopy"),
    }
)
PRODUCTS = frozenset({"Addmm", "Mm"})
MATRIX_DIMS = 2
STATE_DIMS = 3  # (layers x directions, batch, width)
MAX_BETWEEN = 16  # operations between a view and what tells where the samples are


@dataclass(frozen=True, slots=True, kw_only=True)
class TornView:
    """A view that tears samples apart.

    Attributes:
        before: Sizes of what it reads.
        after: Sizes that it gives.
    """

    before: Shape
    after: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class _Along:
    """Where the samples lie: from one stride to another, in numbers in a row.

    Attributes:
        low: Numbers from one sample to the next.
        high: The same of the dimension that comes before that of the samples.
    """

    low: int
    high: int

    @classmethod
    def axis(cls, shape: Sequence[int], axis: int) -> "_Along":
        low = prod(shape[axis + 1 :])
        return cls(low=low, high=low * shape[axis])

    def is_torn_by(self, sizes: Sequence[int], strides: Sequence[int]) -> bool:
        """Whether a view with a dimension as long as the batch has the samples along none."""
        n = self.high // self.low
        ranges = [(s, s * size) for size, s in zip(sizes, strides, strict=True) if size > 1]
        if n < MATRIX_DIMS or n not in sizes or (self.low, self.high) in ranges:
            return False
        return any(self._is_cut_by(*own) for own in ranges)

    def _is_cut_by(self, low: int, high: int) -> bool:
        if high <= self.low or self.high <= low:
            return False
        if low <= self.low and self.high <= high:  # a part of this dimension
            return self.low % low > 0
        return not (self.low <= low and high <= self.high)


def batches_of(arguments: object, n_samples: int) -> tuple[Tensor, ...]:
    """Dense tensors among the arguments of a model that hold so many samples."""
    return tuple(
        leaf
        for leaf in leaves_in(arguments)
        if isinstance(leaf, Tensor)
        and leaf.layout is torch.strided
        and not (leaf.is_nested or leaf.is_meta or hasattr(leaf, "placements"))
        and leaf.dim() > 1
        and len(leaf) == n_samples
    )


def states_of(module: nn.Module, result: object) -> Iterator[tuple[Node, int]]:
    """The results of a recurrent layer, and the dimension of each that holds the samples."""
    if not isinstance(module, nn.RNNBase) or not isinstance(result, tuple):
        return
    output, states = result
    if isinstance(output, Tensor) and output.dim() == STATE_DIMS and output.grad_fn is not None:
        yield output.grad_fn, 0 if module.batch_first else 1
    for state in states if isinstance(states, tuple) else (states,):
        if isinstance(state, Tensor) and state.dim() == STATE_DIMS and state.grad_fn is not None:
            yield state.grad_fn, 1


def torn_input(given: object, inputs: Iterable[Tensor]) -> TornView | None:
    """What a module is given, if that is a view of the model's input that tears its samples."""
    base = getattr(given, "_base", None)
    if not isinstance(given, Tensor) or base is None:
        return None
    for own in inputs:
        is_same = base is own or base is own._base  # noqa: SLF001 - no declared name
        if is_same and own.dim() > 1 and own.is_contiguous():
            along = _Along.axis(own.shape, 0)
            if along.is_torn_by(given.shape, given.stride()):
                return TornView(before=tuple(own.shape), after=tuple(given.shape))
    return None


def torn_views(
    graph: Graph, n_samples: int, states: Mapping[Node, int], inputs: Sequence[Tensor]
) -> tuple[TornView, ...]:
    """Views in a graph that tear the samples.

    Args:
        graph: Of the loss.
        n_samples: First dimension of the model's input.
        states: Of `states_of`, from the same forward.
        inputs: Of the model.
    """
    pointers = {each.data_ptr() for each in inputs if not each.is_floating_point()}
    found = []
    for node in graph.nodes:
        if base_name(node) not in VIEWS:
            continue
        before, after = _sizes_before(node), shape_of(node)
        along = _samples_of(node.next_functions[0][0], n_samples, states, pointers)
        if along is None or not before or prod(before) != prod(after):
            continue
        if along.is_torn_by(after, _strides(after)):
            found.append(TornView(before=before, after=after))
    return tuple(dict.fromkeys(found))


def _samples_of(
    node: Node | None, n_samples: int, states: Mapping[Node, int], pointers: set[int]
) -> _Along | None:
    """Where the samples lie in the result of a node."""
    way: list[Node] = []
    while node is not None and len(way) < MAX_BETWEEN:
        shape = shape_of(node)
        axis = states.get(node)
        if axis is None and _has_samples_first(node, n_samples, pointers):
            axis = 0
        if axis is not None:
            return None if axis >= len(shape) else _followed(axis, [node, *reversed(way)])
        if base_name(node) not in SAME_PLACES | {"Permute", "T", "Transpose"}:
            return None
        way.append(node)
        node = node.next_functions[0][0]
    return None


def _has_samples_first(node: Node, n_samples: int, pointers: set[int]) -> bool:
    shape, name = shape_of(node), base_name(node)
    if name == "Embedding":
        indices = saved(node, "indices")
        return indices is not None and indices.data_ptr() in pointers and shape[0] == n_samples
    return name in PRODUCTS and len(shape) == MATRIX_DIMS and shape[0] == n_samples != shape[1]


def _followed(axis: int, way: Sequence[Node]) -> _Along:
    """The dimension of the samples after transposes; `way` goes from the first to the last."""
    for node in way[1:]:
        n_dims, name = len(shape_of(node)), base_name(node)
        if name == "Permute":
            dims = [_place(dim, n_dims) for dim in getattr(node, "_saved_dims")]  # noqa: B009
            axis = dims.index(axis)
        elif name in {"T", "Transpose"}:
            one, other = _swapped(node, n_dims)
            axis = {one: other, other: one}.get(axis, axis)
    return _Along.axis(shape_of(way[-1]), axis)


def _swapped(node: Node, n_dims: int) -> tuple[int, int]:
    one, other = (getattr(node, f"_saved_dim{place}", place) for place in (0, 1))
    return _place(one, n_dims), _place(other, n_dims)


def _place(dim: int, n_dims: int) -> int:
    """Counted from the front; negative ones may come back as unsigned 64-bit numbers."""
    return (dim - 2 * SIGNED_64 if dim >= SIGNED_64 else dim) % max(1, n_dims)


def _sizes_before(node: Node) -> Shape:
    sizes = getattr(node, "_saved_self_sym_sizes", None)
    if sizes is None:  # of a kind that does not keep them
        before, place = node.next_functions[0]
        return () if before is None else shape_of(before, place)
    return tuple(int(size) for size in sizes)


def _strides(sizes: Sequence[int]) -> tuple[int, ...]:
    """Of a tensor that lies in a row."""
    return tuple(prod(sizes[place + 1 :]) for place in range(len(sizes)))
