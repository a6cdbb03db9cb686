"""Recurrent layers, attention and softmaxes that run over the samples of a batch.

Which dimension holds the samples is known where the model's input and what the loss reads agree:
as many rows in the one as in the other. Where both axes of a sequence have the same length, or the
loss reads each place of a sequence as a row, nothing is said.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from telemetry.capture.structure.graph import Graph, Shape, saved_dim, shape_of
from telemetry.capture.structure.torn_batch import TornView
from telemetry.capture.tensors.graph_leaves import base_name

SOFTMAXES = frozenset({"LogSoftmax", "SafeSoftmax", "Softmax"})
SEQUENCES = (nn.RNNBase, nn.MultiheadAttention)
BATCHED = 3  # dimensions of a batch of sequences


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceCall:
    """One call of a module that runs over a sequence.

    Attributes:
        path: Of the module.
        n_steps: Length of what it runs over.
        n_rows: Sequences beside each other.
    """

    path: str
    n_steps: int
    n_rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SoftmaxOverBatch:
    """A softmax whose values add up to one over the samples.

    Attributes:
        shape: Of its result.
        is_output: It is what the loss reads.
    """

    shape: Shape
    is_output: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchAxis:
    """What runs over the batch of one forward.

    Attributes:
        n_samples: Of the batch.
        calls: Modules that run over them.
        softmaxes: Those over them.
        views: Those that take parts of several samples for one.
    """

    n_samples: int
    calls: tuple[SequenceCall, ...] = ()
    softmaxes: tuple[SoftmaxOverBatch, ...] = ()
    views: tuple[TornView, ...] = ()

    @property
    def n_sites(self) -> int:
        """How many there are."""
        return len(self.calls) + len(self.softmaxes) + len(self.views)


def sequence_call(path: str, module: nn.Module, given: object) -> SequenceCall | None:
    """What a module of `SEQUENCES` runs over; None for one sequence without others."""
    if not isinstance(given, Tensor) or given.dim() != BATCHED:
        return None
    first, second = given.shape[:2]
    n_rows, n_steps = (first, second) if getattr(module, "batch_first", False) else (second, first)
    return SequenceCall(path=path, n_steps=n_steps, n_rows=n_rows)


def batch_axis(
    graph: Graph, n_samples: int, calls: Iterable[SequenceCall], views: Sequence[TornView] = ()
) -> BatchAxis | None:
    """What runs over the batch; None where nothing that could was seen, or it cannot be told.

    Args:
        graph: Of the loss.
        n_samples: First dimension of the model's input.
        calls: Of the forward that the graph is of.
        views: That tear samples.
    """
    outputs = [shape_of(node) for node in graph.outputs]
    all_calls = tuple(calls)
    over = [_is_over(call, n_samples, outputs) for call in all_calls]
    known = n_samples > 1 and any(shape[0] == n_samples for shape in outputs)
    softmaxes = [node for node in graph.nodes if known and base_name(node) in SOFTMAXES]
    found = tuple(
        SoftmaxOverBatch(shape=shape_of(node), is_output=node in graph.outputs)
        for node in softmaxes
        if saved_dim(node) == 0 and _has_classes(shape_of(node), n_samples)
    )
    told = {call for call, is_over in zip(all_calls, over, strict=True) if is_over is not None}
    if not (found or views) and not (told if all_calls else softmaxes):
        return None
    # A network that runs over both axes in turn means it.
    is_meant = False in over
    return BatchAxis(
        n_samples=n_samples,
        calls=() if is_meant else tuple(call for call in all_calls if call in told),
        softmaxes=found,
        views=tuple(dict.fromkeys(views)),
    )


def _is_over(call: SequenceCall, n_samples: int, outputs: Sequence[Shape]) -> bool | None:
    """Whether it runs over the samples; None where that cannot be told."""
    if call.n_rows in {call.n_steps, 1}:
        return None
    if any(shape[0] == call.n_rows for shape in outputs):
        return False
    if any(call.n_rows in shape for shape in outputs) or call.n_steps != n_samples:
        return None
    return True if any(shape[0] == n_samples for shape in outputs) else None


def _has_classes(shape: Shape, n_samples: int) -> bool:
    """Rows of several classes: not the scores of a list of candidates, nor of all pairs."""
    is_batch = len(shape) > 1 and shape[0] == n_samples and n_samples not in shape[1:]
    return is_batch and shape[1] > 1
