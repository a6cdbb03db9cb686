"""Reads the graph of a loss on a few sampled steps, and tells what it says of the network.

Samples 1, 2, 4, 8, ... are looked at, and those whose batch has another size than the ones before:
a network seldom changes, but the last batch of an epoch tells batch and sequence apart. Where they
have the same length, the first step with another size is looked at, sampled or not.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.autograd.graph import Node

from telemetry.capture.activations.modules import module_nodes
from telemetry.capture.event import Event
from telemetry.capture.isolation.guard import Guard
from telemetry.capture.isolation.hook_scope import undispatched
from telemetry.capture.isolation.torch_state import in_transform
from telemetry.capture.steps.entry_hook import DoesNotTravel
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.structure.batch_axis import (
    SEQUENCES,
    BatchAxis,
    SequenceCall,
    batch_axis,
    sequence_call,
)
from telemetry.capture.structure.future import future
from telemetry.capture.structure.graph import Graph, graph_of
from telemetry.capture.structure.linear_maps import LinearMaps, Pair, linear_maps
from telemetry.capture.structure.torn_batch import (
    TornView,
    batches_of,
    states_of,
    torn_input,
    torn_views,
)
from telemetry.capture.tensors.inputs import batch_size
from telemetry.capture.tensors.loss_graph import losses_of

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from telemetry.json_values import Json

LINEAR_PAIRS = "linear_pairs"
OVER_BATCH = "over_batch"
NEXT_TARGETS = "next_target_share"
FUTURE = "future_share"
OWN_TARGETS = "own_target_share"
COLUMNS = (LINEAR_PAIRS, OVER_BATCH, NEXT_TARGETS, OWN_TARGETS, FUTURE)

MAX_NODES = 20_000  # of one walk: about 20 ms
MAX_SIZES = 16  # of batches that are looked at beside the samples whose turn it is
MAX_TOLD = 64  # pairs in one event


@dataclass(slots=True, kw_only=True)
class _Forward:
    """What is noted of one forward.

    Attributes:
        inputs: Of the model.
        calls: Of modules that run over a sequence.
        states: What recurrent layers returned, and the dimension that holds the samples.
        views: Of the inputs that modules were given, and that tear samples.
    """

    inputs: tuple[Tensor, ...] = ()
    calls: list[SequenceCall] = field(default_factory=list)
    states: dict[Node, int] = field(default_factory=dict)
    views: list[TornView] = field(default_factory=list)


class InputHook(DoesNotTravel):
    """Forward pre-hook that notes what a module is given, and what it runs over.

    Args:
        path: Of the module.
        seen: To which it is added.
        guard: Contains its errors.
    """

    __slots__ = ("_guard", "_path", "_seen")

    def __init__(self, path: str, seen: _Forward, guard: Guard) -> None:
        self._path, self._seen, self._guard = path, seen, guard

    def __call__(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> None:
        """Note it; changes nothing."""
        if torch.compiler.is_compiling():
            return
        with self._guard.metered(), self._guard(StructureWatch.part), undispatched():
            given = args[0] if args else kwargs.get("input", kwargs.get("query"))
            torn = torn_input(given, self._seen.inputs)
            if torn is not None:
                self._seen.views.append(torn)
            call = sequence_call(self._path, module, given)
            if call is not None and isinstance(module, SEQUENCES):
                self._seen.calls.append(call)


class StateHook(DoesNotTravel):
    """Forward hook that notes what a recurrent layer returned.

    Args:
        seen: To which it is added.
        guard: Contains its errors.
    """

    __slots__ = ("_guard", "_seen")

    def __init__(self, seen: _Forward, guard: Guard) -> None:
        self._seen, self._guard = seen, guard

    def __call__(self, module: nn.Module, args: tuple[object, ...], result: object) -> None:
        """Note it; changes nothing."""
        del args
        if torch.compiler.is_compiling():
            return
        with self._guard.metered(), self._guard(StructureWatch.part), undispatched():
            self._seen.states.update(states_of(module, result))


class StructureWatch(StepObserver):
    """Fills the columns of `COLUMNS` on the steps that it looks at."""

    part: ClassVar[str] = "structure"
    at_rest = frozenset({"forward", "before_backward"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._n_samples = 0
        self._sizes: set[int] = set()
        self._n_in_batch = 0
        self._is_turn = False  # until the first forward of the sample
        self._is_undecided = False  # batches are as large as their sequences are long
        self._seen = _Forward()
        self._handles: list[RemovableHandle] = []
        self._told: dict[str, object] = {}

    def close(self) -> None:
        """Remove the hooks."""
        self._drop_hooks()

    def sample_begins(self, record: StepRecord) -> None:
        """Look at the first forward of this step."""
        del record
        self._drop_hooks()
        self.rest("before_backward")
        self._n_samples += 1
        self._is_turn = self._n_samples & (self._n_samples - 1) == 0
        self.wake("forward")

    def forward(
        self,
        record: StepRecord,
        module: nn.Module,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> None:
        """Wait for its backward pass, if it is its turn or the batch has a new size."""
        del record, module
        if not self._is_undecided:
            self.rest("forward")
        size = batch_size(args, kwargs)
        is_turn, self._is_turn = self._is_turn, False
        is_new = size not in self._sizes and len(self._sizes) < MAX_SIZES
        if in_transform() or not (is_turn or is_new):
            return
        if is_new:
            self._sizes.add(size)
        self._n_in_batch = size
        self._seen = _Forward(inputs=batches_of((args, kwargs), size))
        self._drop_hooks()
        for node in module_nodes(self.around.model)[0]:
            self._look_at(node.path, node.module)
        self.wake("before_backward")

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """Read the graph."""
        self.rest("before_backward")
        self._drop_hooks()
        with undispatched():
            graph = graph_of(roots, limit=MAX_NODES)
            if graph is None:
                return
            self._see_maps(record, linear_maps(graph))
            self._see_axes(record, self._axes_of(graph))
            self._see_future(record, graph, roots)

    # --- inside -------------------------------------------------------------------------------

    def _look_at(self, path: str, module: nn.Module) -> None:
        guard = self.around.guard
        if isinstance(module, SEQUENCES) or next(module.children(), None) is None:
            hook = InputHook(path, self._seen, guard)
            self._handles.append(module.register_forward_pre_hook(hook, with_kwargs=True))
        if isinstance(module, nn.RNNBase):
            self._handles.append(module.register_forward_hook(StateHook(self._seen, guard)))

    def _axes_of(self, graph: Graph) -> BatchAxis | None:
        seen, self._seen = self._seen, _Forward(calls=self._seen.calls)
        torn = torn_views(graph, self._n_in_batch, seen.states, seen.inputs)
        return batch_axis(graph, self._n_in_batch, seen.calls, [*seen.views, *torn])

    def _see_maps(self, record: StepRecord, found: LinearMaps) -> None:
        named = [names for pair in found.pairs if (names := self._named(pair)) is not None]
        if found.n_weights:
            record.values[LINEAR_PAIRS] = float(len(named))
        if named:
            payload: dict[str, Json] = {"n_weights": found.n_weights, "pairs": [*named[:MAX_TOLD]]}
            self._tell("linear_layers", "linear layers follow each other directly", payload)
        chosen = [names for pair in found.by_softmax if (names := self._named(pair)) is not None]
        if chosen:
            message = "a softmax stands between linear layers"
            self._tell("softmax_between_layers", message, {"pairs": [*chosen[:MAX_TOLD]]})

    def _named(self, pair: Pair) -> "dict[str, Json] | None":
        """A pair by the names of its weights; None if they are not the model's."""
        entries = [self.around.catalogue.entry(each.weight) for each in (pair.first, pair.second)]
        first, second = entries
        if first is None or second is None:
            return None
        return {
            "first": first.name,
            "second": second.name,
            "n_in": pair.first.n_in,
            "n_between": pair.first.n_out,
            "n_out": pair.second.n_out,
        }

    def _see_axes(self, record: StepRecord, found: BatchAxis | None) -> None:
        self._is_undecided = found is None and any(c.n_steps == c.n_rows for c in self._seen.calls)
        if self._is_undecided:
            self.wake("forward")
        if found is None:
            return
        record.values[OVER_BATCH] = float(found.n_sites)
        if not found.n_sites:
            return
        calls: list[Json] = [
            {"module": call.path, "n_steps": call.n_steps, "n_rows": call.n_rows}
            for call in found.calls
        ]
        softmaxes: list[Json] = [
            {"shape": list(each.shape), "is_output": each.is_output} for each in found.softmaxes
        ]
        views: list[Json] = [
            {"before": list(each.before), "after": list(each.after)} for each in found.views
        ]
        payload: dict[str, Json] = {
            "n_samples": found.n_samples,
            "modules": calls[:MAX_TOLD],
            "softmaxes": softmaxes[:MAX_TOLD],
            "views": views[:MAX_TOLD],
        }
        self._tell("over_the_batch", "the samples of a batch are taken for a sequence", payload)

    def _see_future(self, record: StepRecord, graph: Graph, roots: Sequence[Tensor]) -> None:
        found = future(graph, losses_of(roots))
        if found is None:
            return
        record.values[NEXT_TARGETS] = found.next_share
        record.values[OWN_TARGETS] = found.own_share
        if found.seen_share is not None:
            record.values[FUTURE] = found.seen_share

    def _tell(self, kind: str, message: str, payload: "dict[str, Json]") -> None:
        """An event, unless it was told before."""
        if self._told.get(kind) == payload:
            return
        self._told[kind] = payload
        self.around.emit(Event(kind=kind, message=message, payload=payload))

    def _drop_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
