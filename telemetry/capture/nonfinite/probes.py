"""A few small gradients by which one that is not finite is noticed, before it is applied.

What is not finite in a backward pass flows on to all that was computed before it, and ends in the
operations that read the batch: their parameters hold it. They are found once, in the graph of the
first losses.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.optim import Optimizer

from telemetry.capture.catalogue.catalogue import Catalogue
from telemetry.capture.catalogue.group_settings import parameters_of
from telemetry.capture.tensors.host import as_known

MAX_ELEMENTS = 1024  # a microsecond each
MAX_SOURCES = 3
FEW = 32  # elements that are sooner added up as numbers
MIN_PROBES = 1
N_WALKS = 4  # losses of different kinds, as those of a generator and a discriminator
MAX_NODES = 20_000
FLOATS = frozenset({torch.float32, torch.float64})
PLAIN = frozenset({Tensor, nn.Parameter})
ACCUMULATE = "AccumulateGrad"
RESHAPING = frozenset(
    f"{name}Backward0"
    for name in ("Expand", "Permute", "T", "ToCopy", "Transpose", "Unsqueeze", "View")
)


class GradientProbes:
    """Small parameters of each optimizer: those that read the batch, else the first.

    Args:
        catalogue: Tells the parameters.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._revision = -1
        self._walks_left = 0
        self._sources: dict[int, Tensor] = {}
        self._probes: dict[Optimizer, tuple[Tensor, ...]] = {}

    @property
    def are_sought(self) -> bool:
        """Whether `look` would find something new."""
        return self._walks_left > 0 or self._revision != self._catalogue.revision

    def look(self, roots: Sequence[Tensor]) -> None:
        """Search the graph of a loss before its backward pass."""
        if self._revision != self._catalogue.revision:
            self._revision = self._catalogue.revision
            self._walks_left = N_WALKS
            self._sources.clear()
        self._walks_left -= 1
        for operation in source_operations(roots):
            small = [p for p in operation if _is_small(p)]
            if small:
                smallest = min(small, key=Tensor.numel)
                self._sources[id(smallest)] = smallest
        self._probes.clear()

    def of(self, optimizer: Optimizer) -> tuple[Tensor, ...]:
        """The parameters that are looked at."""
        probes = self._probes.get(optimizer)
        if probes is None:
            probes = self._probes[optimizer] = self._chosen(optimizer)
        return probes

    def are_finite(self, optimizer: Optimizer) -> bool:
        """Whether none of their gradients has an element that is not."""
        for parameter in self._probes.get(optimizer) or self.of(optimizer):
            gradient = parameter.grad
            if gradient is None:
                continue
            try:
                values = gradient if gradient.dim() == 1 else gradient.reshape(-1)
                if values.numel() <= FEW and values.is_cpu and math.isfinite(sum(values.tolist())):
                    continue
                # A quarter of the cost of looking at each element, done where this overflows.
                number = as_known(torch.dot(values, values))
            except RuntimeError:  # sparse, or of a type that has no such product
                continue
            # A tensor: the model went to another device, which is not waited for.
            if isinstance(number, float) and not math.isfinite(number) and not _is_finite(values):
                return False
        return True

    def _chosen(self, optimizer: Optimizer) -> tuple[Tensor, ...]:
        own = set(map(id, parameters_of(optimizer)))
        sources = [p for key, p in self._sources.items() if key in own]
        chosen = sources[:: -(-len(sources) // MAX_SOURCES) or 1]
        if len(chosen) < MIN_PROBES:
            known = {id(p) for p in chosen}
            others = [p for _, _, p in self._catalogue.in_forward_order()]
            small = [p for p in others if id(p) in own and id(p) not in known and _is_small(p)]
            chosen += small[: MIN_PROBES - len(chosen)]
        return tuple(chosen)


def source_operations(roots: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """The parameters of each operation that computes from parameters, and constants, alone."""
    waiting = [root.grad_fn for root in roots if root.grad_fn is not None]
    # Nodes are held while the walk lasts, so that an id is not given twice.
    seen: dict[int, Node] = {}
    while waiting and len(seen) < MAX_NODES:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen[id(node)] = node
        inputs = [following for following, _ in node.next_functions if following is not None]
        parameters = [_parameter(following) for following in inputs]
        found = [p for p in parameters if p is not None]
        if found and len(found) == len(inputs) and node.name() not in RESHAPING:
            yield found
        waiting.extend(inputs)


def _parameter(node: Node) -> Tensor | None:
    """The leaf that a node hands on, perhaps in another shape."""
    while node.name() in RESHAPING and node.next_functions[0][0] is not None:
        node = node.next_functions[0][0]
    leaf = getattr(node, "variable", None) if node.name().endswith(ACCUMULATE) else None
    return leaf if isinstance(leaf, Tensor) else None


def _is_finite(values: Tensor) -> bool:
    return bool(np.isfinite(values.detach().numpy()).all())


def _is_small(parameter: Tensor) -> bool:
    return (
        type(parameter) in PLAIN  # a DTensor and its like have no memory that numpy could read
        and parameter.is_cpu
        and parameter.requires_grad
        and parameter.layout is torch.strided
        and parameter.dtype in FLOATS
        and 0 < parameter.numel() <= MAX_ELEMENTS
    )
