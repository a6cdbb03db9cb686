"""Gradients of recurrent modules per time step.

The gradient of a loss at the last step reaches the others inside one fused operation: only the
gradient of the module's *input* shows it step by step. So the module reads an alias of its input,
and where that requires no gradient, as raw data does not, its alias does. Gradients of weights are
the same bits for RNN, GRU and LSTM either way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

from telemetry.capture.activations.records import OUTPUT_GRAD
from telemetry.capture.activations.statistics import accumulator, is_observable
from telemetry.capture.steps.entry_hook import Arguments

MAX_STEPS = 4096  # of one profile; the last ones, for losses are read there


class TimeSteps(Protocol):
    """Where the time steps of a tensor lie."""

    @property
    def n_steps(self) -> int:
        """How many there are."""
        ...

    def norms(self, gradient: Tensor) -> Tensor:
        """L2 norm of each step over batch and features, shape (min(n_steps, 4096),)."""
        ...


class GradientPlace(NamedTuple):
    """Which gradient of a module it is: that of which tensor, in which call of one forward."""

    site: str = OUTPUT_GRAD
    call: int = 0
    steps: TimeSteps | None = None


class Watched(NamedTuple):
    """An alias of a module's input, and the arguments with the alias in its place."""

    alias: Tensor
    arguments: Arguments
    steps: TimeSteps | None


@dataclass(frozen=True, slots=True, kw_only=True)
class PaddedSteps:
    """One dimension is the time."""

    dim: int
    n_steps: int

    def norms(self, gradient: Tensor) -> Tensor:
        """As in `TimeSteps`."""
        first = max(0, self.n_steps - MAX_STEPS)
        part = gradient.narrow(self.dim, first, self.n_steps - first)
        return _norm(part, [dim for dim in range(part.dim()) if dim != self.dim])


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSteps:
    """Rows sorted by time; `batch_sizes` says how many each step has, on the host."""

    batch_sizes: Tensor

    @property
    def n_steps(self) -> int:
        """Steps of the longest sequence."""
        return len(self.batch_sizes)

    def norms(self, gradient: Tensor) -> Tensor:
        """As in `TimeSteps`."""
        rows = _norm(gradient, [1]).unsqueeze(1)
        padded, _ = pad_packed_sequence(PackedSequence(rows, self.batch_sizes))
        return _norm(padded[-MAX_STEPS:], [1, 2])


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalStep:
    """A state after the last step, of shape (n_layers * n_directions, ...).

    The backward direction, every other row, ends at the first step.
    """

    n_steps: int
    n_directions: int

    def norms(self, gradient: Tensor) -> Tensor:
        """As in `TimeSteps`; zero but at the ends."""
        others = min(self.n_steps, MAX_STEPS) - 1
        ends = [_norm(gradient[k :: self.n_directions], None) for k in range(self.n_directions)]
        result = nn.functional.pad(ends[0].view(1), (others, 0))
        if self.n_directions == 1:
            return result
        return torch.hypot(result, nn.functional.pad(ends[1].view(1), (0, others)))


def watched_input(
    module: nn.Module, args: Sequence[object], kwargs: Mapping[str, object]
) -> Watched | None:
    """An alias of a recurrent module's input; None where it could change anything.

    Args:
        module: Of torch itself; called with gradient.
        args: Its arguments.
        kwargs: Its named arguments.
    """
    if not type(module).__module__.startswith("torch.nn."):
        return None  # a subclass may do anything with its input
    given = args[0] if args else kwargs.get("input")
    values = given.data if isinstance(given, PackedSequence) else given
    if not isinstance(values, Tensor) or not is_observable(values):
        return None
    if values.requires_grad:
        alias = values.view_as(values)
    elif _may_require_grad(module):
        alias = values.detach().requires_grad_()
    else:
        return None
    steps = steps_of(module, given)
    passed = given._replace(data=alias) if isinstance(given, PackedSequence) else alias
    if args:
        return Watched(alias, ((passed, *args[1:]), dict(kwargs)), steps)
    return Watched(alias, ((), {**kwargs, "input": passed}), steps)


def steps_of(module: nn.Module, values: object) -> TimeSteps | None:
    """Time steps of what a recurrent module reads or returns; None for that of one step."""
    if isinstance(values, PackedSequence):
        return PackedSteps(batch_sizes=values.batch_sizes)
    if not isinstance(module, nn.RNNBase) or not isinstance(values, Tensor):
        return None
    is_batch_first = module.batch_first and values.dim() == 3  # noqa: PLR2004 - with a batch
    dim = 1 if is_batch_first else 0
    return PaddedSteps(dim=dim, n_steps=values.shape[dim])


def returned_steps(module: nn.Module, output: object) -> Iterator[tuple[object, TimeSteps | None]]:
    """What a recurrent module returned: all steps, then the states after the last one."""
    if not isinstance(module, nn.RNNBase) or not isinstance(output, tuple):
        yield output, None
        return
    values, states = output
    steps = steps_of(module, values)
    yield values, steps
    if steps is not None:
        last = FinalStep(n_steps=steps.n_steps, n_directions=2 if module.bidirectional else 1)
        yield from ((s, last) for s in (states if isinstance(states, tuple) else (states,)))


def _may_require_grad(module: nn.Module) -> bool:
    """Whether nobody can tell that an input requires a gradient where it did not.

    The output of a frozen module would begin to, hooks on the backward of the module would see a
    gradient, and activation checkpoints count the tensors that are saved.
    """
    return (
        any(parameter.requires_grad for parameter in module.parameters())
        and not module._backward_hooks  # noqa: SLF001 - no public name
        and not module._backward_pre_hooks  # noqa: SLF001 - the same
        and not nn.modules.module._global_backward_hooks  # noqa: SLF001 - the same
        and not nn.modules.module._global_backward_pre_hooks  # noqa: SLF001 - the same
        and not _saved_tensors_are_hooked()
    )


def _saved_tensors_are_hooked() -> bool:
    hooks = getattr(torch._C._autograd, "_top_saved_tensors_default_hooks", None)  # noqa: SLF001 - no public name
    return hooks is None or hooks(False) is not None  # noqa: FBT003 - takes no name


def _norm(values: Tensor, dims: list[int] | None) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(values, dim=dims, dtype=accumulator(values))
    return norm
