"""How far examples are from the training set, in what the model makes of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from telemetry.errors import UsageError
from telemetry.explain.models.subject import Subject
from telemetry.explain.names import known

BLOCK = 512  # examples whose distances are in memory at once
MAP_DIMENSIONS, SEQUENCE_DIMENSIONS = 4, 3


class Representation:
    """What a layer gives, as one vector an example; collected while the model runs."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    @property
    def vectors(self) -> Tensor:
        """Shape (n, n_features), of length one each, on the host."""
        joined = torch.cat([part.flatten(1) for part in self._parts])
        return functional.normalize(joined, dim=1)

    def add(self, value: object) -> None:
        """Keep an output; maps and sequences are averaged over places."""
        found = value[0] if isinstance(value, tuple) else value
        if not isinstance(found, Tensor) or found.dim() < 2:  # noqa: PLR2004 - batch and features
            raise UsageError(
                "--layer: its output is not a tensor with one row per example; name another layer."
            )
        if found.dim() == MAP_DIMENSIONS:
            found = found.mean((2, 3))
        elif found.dim() == SEQUENCE_DIMENSIONS:
            found = found.mean(1)
        self._parts.append(found.detach().float().cpu())


@contextmanager
def listening(subject: Subject, layer: str | None) -> Iterator[Representation | None]:
    """A block in which what a layer gives is collected; enter it inside `subject.running()`.

    Args:
        subject: Whose model.
        layer: Name of a module; None: the input of the last linear one.

    Yields:
        What is collected; None where no layer is named and there is no linear one.

    Raises:
        UsageError: the model has no such module.
    """
    found = Representation()
    modules = dict(subject.model.named_modules())
    if layer is not None:
        name = known("layer", layer, filter(None, modules))
        handle = modules[name].register_forward_hook(lambda _m, _i, output: found.add(output))
    else:
        linear = [module for module in modules.values() if isinstance(module, nn.Linear)]
        if not linear:
            yield None
            return
        handle = linear[-1].register_forward_pre_hook(lambda _m, inputs: found.add(inputs[0]))
    try:
        yield found
    finally:
        handle.remove()


def nearest_distances(
    vectors: Tensor, reference: Tensor, k: int, *, own: Sequence[int] | None = None
) -> tuple[Tensor, Tensor]:
    """Mean distance to the k nearest of a reference, and which they are.

    Args:
        vectors: Shape (n, n_features).
        reference: Shape (n_reference, n_features).
        k: How many count.
        own: Place of each vector in the reference, which is left out; None: none is in it.

    Returns:
        Distances, shape (n,), and places in the reference, nearest first, shape (n, k).
    """
    distances, places = [], []
    for start in range(0, len(vectors), BLOCK):
        block = torch.cdist(vectors[start : start + BLOCK], reference)
        if own is not None:
            rows = torch.arange(len(block))
            block[rows, torch.tensor(own[start : start + BLOCK])] = torch.inf
        nearest, which = block.topk(k, dim=1, largest=False)
        distances.append(nearest.mean(1))
        places.append(which)
    return torch.cat(distances), torch.cat(places)
