"""Tensors that the forward uses, that require a gradient, and that nobody trains.

Layers in a Python list are no modules of the model: `model.parameters()` leaves them out, and so
does the optimizer. They are found in the graph between the model's inputs and its outputs. What
comes in with the inputs is none of the model's, nor is what the loss is made of besides. A tensor
that is made anew in each forward is not kept by anybody, so that two forwards are compared.
"""

import functools
import math
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import parameters_of
from telemetry.capture.event import Event
from telemetry.capture.isolation.guard import guarded
from telemetry.capture.isolation.torch_state import in_transform
from telemetry.capture.steps.entry_hook import DoesNotTravel
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.tensors.graph_leaves import Leaf, leaves
from telemetry.capture.tensors.inputs import tensors_in

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from telemetry.json_values import Json

COLUMN = "forgotten_parameters"
MAX_NODES = 20_000  # of one walk: about 20 ms
MAX_TOLD = 64  # tensors in one event
LAYERS = {
    "Addmm": "Linear",
    "Bmm": "Linear",
    "Convolution": "convolution",
    "Embedding": "Embedding",
    "Linear": "Linear",
    "Mm": "Linear",
    "NativeBatchNorm": "BatchNorm",
    "NativeGroupNorm": "GroupNorm",
    "NativeLayerNorm": "LayerNorm",
}


class OutputHook(DoesNotTravel):
    """Forward hook that hands on what the model returned.

    Args:
        returned: Contains its errors.
    """

    __slots__ = ("_returned",)

    def __init__(self, returned: Callable[[object], None]) -> None:
        self._returned = returned

    def __call__(self, module: nn.Module, args: tuple[object, ...], output: object) -> None:
        """Hand it on; changes nothing."""
        del module, args
        if not torch.compiler.is_compiling():
            self._returned(output)


class ForgottenLeaves(StepObserver):
    """Fills `forgotten_parameters` of some sampled steps, and tells of those that are new.

    Samples 1, 2, 4, 8, ... are looked at: a network seldom changes, and walks cost more than what
    else is read of a small sample.
    """

    part: ClassVar[str] = "forgotten_leaves"
    at_rest = frozenset({"forward"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._guard = around.guard
        self._n_samples = 0
        self._n_walks = 0
        self._others: weakref.WeakSet[Optimizer] = weakref.WeakSet()
        self._before: dict[int, tuple[weakref.ref[Tensor], int]] = {}  # with its version
        self._told: frozenset[int] = frozenset()
        self._output_hook: RemovableHandle | None = None

    def close(self) -> None:
        """Remove the hook."""
        self._drop_output_hook()

    def other_steps(self, record: StepRecord, optimizer: Optimizer) -> None:
        """What it holds is trained, too."""
        del record
        self._others.add(optimizer)

    def sample_begins(self, record: StepRecord) -> None:
        """Look at the first forward of this step, if it is its turn."""
        del record
        self._n_samples += 1
        if self._n_samples & (self._n_samples - 1) == 0:
            self.wake("forward")

    def forward(
        self,
        record: StepRecord,
        module: nn.Module,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> None:
        """Wait for what it returns."""
        self.rest("forward")
        # Under FSDP2 a forward runs on other tensors than the parameters.
        is_hidden = hasattr(next(self.around.model.parameters(), None), "placements")
        if is_hidden or in_transform():
            return
        inputs = tuple(tensors_in((args, kwargs)))
        self._drop_output_hook()
        hook = OutputHook(functools.partial(self._returned, record, inputs))
        self._output_hook = module.register_forward_hook(hook)

    # --- inside -------------------------------------------------------------------------------

    @guarded(part)
    def _returned(self, record: StepRecord, inputs: Sequence[Tensor], output: object) -> None:
        self._drop_output_hook()
        found = leaves(tuple(tensors_in(output)), limit=MAX_NODES, ends=inputs)
        if found is None:
            return
        unknown = [leaf for leaf in found if self.around.catalogue.entry(leaf.tensor) is None]
        before = self._before
        self._before = {
            id(leaf.tensor): (weakref.ref(leaf.tensor), leaf.tensor._version)  # noqa: SLF001
            for leaf in unknown
        }
        self._n_walks += 1
        if self._n_walks == 1:
            return
        optimizers = (*self.around.optimizers, *self._others)
        held = {id(p) for optimizer in optimizers for p in parameters_of(optimizer)}
        kept = [
            leaf
            for leaf in unknown
            if id(leaf.tensor) not in held and _is_same(leaf.tensor, before.get(id(leaf.tensor)))
        ]
        if self.around.optimizers or self._others:  # else the loop updates what it wants to
            record.values[COLUMN] = float(len(kept))
            self._tell(kept)

    def _tell(self, kept: Sequence[Leaf]) -> None:
        identities = frozenset(id(leaf.tensor) for leaf in kept)
        if identities <= self._told:
            return
        self._told = identities
        self.around.emit(forgotten_event(kept))

    def _drop_output_hook(self) -> None:
        if self._output_hook is not None:
            self._output_hook.remove()
            self._output_hook = None


def _is_same(tensor: Tensor, before: tuple[weakref.ref[Tensor], int] | None) -> bool:
    """Whether it was there before, and nobody has changed it."""
    return (
        before is not None and before[0]() is tensor and before[1] == tensor._version  # noqa: SLF001
    )


def forgotten_event(found: Sequence[Leaf]) -> Event:
    """What is used and not trained, by the layers that it seems to be of."""
    named = [_described(leaf) for leaf in found if not _is_bias(leaf, found)]
    more = f" and {len(named) - 1} more" if len(named) > 1 else ""
    tensors: list[Json] = [
        {"shape": list(leaf.tensor.shape), "operation": leaf.operation} for leaf in found[:MAX_TOLD]
    ]
    return Event(
        kind="forgotten_parameters",
        severity="warning",
        message=f"the forward uses {named[0]}{more} that belongs neither to the model nor to an "
        "optimizer",
        payload={
            "layers": list(named[:MAX_TOLD]),
            "n_tensors": len(found),
            "n_elements": sum(leaf.tensor.numel() for leaf in found),
            "tensors": tensors,
        },
    )


def _is_bias(leaf: Leaf, found: Sequence[Leaf]) -> bool:
    """Whether another tensor of the same operation stands for the layer."""
    same = [other for other in found if other.user is leaf.user]
    largest = max(same, key=lambda other: (other.tensor.dim(), other.tensor.numel()))
    return largest.tensor is not leaf.tensor


def _described(leaf: Leaf) -> str:
    sizes = tuple(leaf.tensor.shape)
    layer = LAYERS.get(leaf.operation)
    if layer == "Linear" and len(sizes) == 2:  # noqa: PLR2004 - a matrix, outputs first
        return f"a Linear of {sizes[1]}x{sizes[0]}"
    size = "x".join(map(str, sizes)) if math.prod(sizes) != 1 else "one element"
    return f"a tensor of {size} in {leaf.operation}" if layer is None else f"a {layer} of {size}"
