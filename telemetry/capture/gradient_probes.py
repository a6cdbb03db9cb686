"""A few small gradients by which one that is not finite is noticed, before it is applied.

What is not finite in a backward pass flows on to all that was computed before it, so the first
parameters of a model hold it most often. Reading three small ones costs two microseconds on a CPU.
"""

import math
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry.capture.catalogue import Catalogue

MAX_ELEMENTS = 4096
N_PROBES = 3
FLOATS = frozenset({torch.float32, torch.float64})
PLAIN = frozenset({Tensor, nn.Parameter})


class GradientProbes:
    """Up to three parameters of each optimizer: its first, its last, and one between.

    Args:
        catalogue: Tells their order.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._revision: tuple[int, int] | None = None
        self._probes: dict[Optimizer, tuple[Tensor, ...]] = {}

    def choose(self) -> None:
        """Take the parameters as they are now; nothing happens if they are the same."""
        if self._revision == self._catalogue.order_revision:
            return
        small = [p for _, _, p in self._catalogue.in_forward_order() if _is_small(p)]
        self._revision = self._catalogue.order_revision
        self._probes = {
            optimizer: _spread(small, _held_by(optimizer))
            for optimizer in self._catalogue.optimizers
        }

    def of(self, optimizer: Optimizer) -> tuple[Tensor, ...]:
        """The parameters that are looked at."""
        return self._probes.get(optimizer, ())

    def are_finite(self, optimizer: Optimizer) -> bool:
        """Whether none of their gradients is seen to be anything else; they may be too large."""
        for parameter in self._probes.get(optimizer, ()):
            gradient = parameter.grad
            if gradient is None:
                continue
            try:
                values = gradient.numpy().ravel()
            except (RuntimeError, TypeError):
                # Sparse, with a graph, or of a model that became another type or went elsewhere.
                continue
            if not math.isfinite(np.dot(values, values)):
                return False
        return True


def _is_small(parameter: Tensor) -> bool:
    return (
        type(parameter) in PLAIN  # a DTensor and its like have no memory that numpy could read
        and parameter.is_cpu
        and parameter.layout is torch.strided
        and parameter.dtype in FLOATS
        and 0 < parameter.numel() <= MAX_ELEMENTS
    )


def _held_by(optimizer: Optimizer) -> set[int]:
    return {id(p) for group in optimizer.param_groups for p in group["params"]}


def _spread(parameters: Iterable[Tensor], wanted: set[int]) -> tuple[Tensor, ...]:
    own: Sequence[Tensor] = [p for p in parameters if id(p) in wanted and p.requires_grad]
    chosen = {0, len(own) // 2, len(own) - 1} if own else set()
    return tuple(own[index] for index in sorted(chosen))
