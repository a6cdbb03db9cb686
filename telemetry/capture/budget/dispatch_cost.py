"""What the way to one hook and back takes: what a clock inside of the hook cannot see.

Measured once in a process: hooks of the kinds that a recording installs, with nothing behind them,
are reached as training reaches them, and what their own blocks took is left out. The caches are
emptied between two rounds, as a training step empties them. No operation of torch runs, and
nothing of the training is touched.
"""

import functools
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, TypeAlias, cast

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules
from torch.optim import Optimizer

from telemetry.capture.isolation.guard import Guard, guarded
from telemetry.capture.isolation.meter import Meter
from telemetry.capture.isolation.untraced import untraced
from telemetry.capture.steps import backward, entry_hook, optimizer_hooks

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

StepHook: TypeAlias = Callable[[object, tuple[object, ...], dict[str, object]], object]
N_ROUNDS = 25  # their median: a round that was interrupted must not count
# Where torch keeps the hooks that were registered for every module.
HOOKS_ON_ALL_MODULES = (
    "_global_backward_pre_hooks",
    "_global_backward_hooks",
    "_global_forward_pre_hooks",
    "_global_forward_hooks",
)
EVICTED_BYTES = 1 << 21  # more than the second level of caches holds of most processors


@functools.cache
def measured_dispatch_s() -> float:
    """Seconds of the way to one hook and back, as a mean of the hooks of one step."""
    return dispatch_s(time.perf_counter)


def dispatch_s(clock: Callable[[], float]) -> float:
    """The same by another clock.

    Args:
        clock: Monotonic seconds.
    """
    hooks = _EmptyHooks(clock)
    cold = bytearray(EVICTED_BYTES)
    rounds: list[float] = []
    for _ in range(N_ROUNDS):
        bytes(cold)
        started_s = clock()
        hooks.plain()
        plain_s = clock() - started_s
        bytes(cold)
        started_s = clock()
        hooks.hooked()
        rounds.append((clock() - started_s - plain_s - hooks.meter.take()) / hooks.n_hooks)
    return max(statistics.median(rounds), 0.0)


class _EmptyHooks:
    """The hooks of one step of a loop, on things of its own.

    Args:
        clock: Monotonic seconds.

    Attributes:
        meter: Has the time inside of the hooks.
        n_hooks: How many `hooked` reaches.
    """

    n_hooks = 5

    def __init__(self, clock: Callable[[], float]) -> None:
        self.meter = Meter(clock)
        self._guard = Guard(strict=False, on_failure=_is_not_expected, meter=self.meter)
        self._input = torch.zeros((), device="cpu")
        self._plain, self._hooked = _Same(), _Same()
        entry_hook.hook_entry(self._hooked, self._on_forward)
        # Hooks on all modules would be told of ours; and with them torch takes the long way anyway.
        self._others_look = _hooks_on_all_modules()
        self._entry = entry_hook.EntryHook(self._on_forward)
        observers = backward.Observers()
        observers.present = (self._on_backward,)
        self._backward = backward.observed(_nothing, observers)
        self._optimizer = _StillOptimizer()
        optimizer_hooks.install(0, cast("Optimizer", self._optimizer), self)

    def plain(self) -> None:
        """What training does without the hooks."""
        if not self._others_look:
            self._plain(self._input)
        _nothing(self._input)

    def hooked(self) -> None:
        """The same with them, and the call that ends a step."""
        if self._others_look:
            self._entry(self._hooked, (self._input,), {})
        else:
            self._hooked(self._input)
        self._backward(self._input)
        self._optimizer.step()
        _step(self, loss=self._input)

    @guarded("empty")
    def _on_forward(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> entry_hook.Arguments | None:
        del module, args, kwargs
        return None

    @guarded("empty")
    def _on_backward(self, roots: Sequence[Tensor], waiting: backward.Waiting) -> None:
        """A backward pass begins."""

    @guarded("empty")
    def step_begins(self, index: int, optimizer: Optimizer, *, has_closure: bool) -> None:
        """As `optimizer_hooks.StepEvents`."""

    @guarded("empty")
    def evaluated(self, index: int, optimizer: Optimizer, result: object) -> None:
        """As `optimizer_hooks.StepEvents`."""

    @guarded("empty")
    def stepped(self, index: int, optimizer: Optimizer) -> None:
        """As `optimizer_hooks.StepEvents`."""

    @guarded("empty")
    def step(self, loss: Tensor) -> None:
        """The loop's own call."""


class _Same(nn.Module):
    """Returns what it is given."""

    _compiled_call_impl = None  # hides nn.Module's, where somebody watches the calls of all modules

    def forward(self, values: Tensor) -> Tensor:
        """As it is."""
        return values


class _StillOptimizer:
    """Tells its hooks of a step that does nothing, as torch's own would."""

    def __init__(self) -> None:
        self._before: list[StepHook] = []
        self._after: list[StepHook] = []

    def register_step_pre_hook(self, hook: StepHook) -> "RemovableHandle | None":
        """As torch's, but for good."""
        self._before.append(hook)
        return None

    def register_step_post_hook(self, hook: StepHook) -> "RemovableHandle | None":
        """As torch's, but for good."""
        self._after.append(hook)
        return None

    def step(self) -> None:
        """Begin, and end."""
        for hook in self._before:
            hook(self, (self,), {})
        for hook in self._after:
            hook(self, (self,), {})


# As the callback's own.
@untraced
def _step(hooks: _EmptyHooks, loss: Tensor) -> None:
    hooks.step(loss)


def _hooks_on_all_modules() -> bool:
    return any(getattr(torch_modules, name, ()) for name in HOOKS_ON_ALL_MODULES)


def _nothing(tensors: object, *args: object, **kwargs: object) -> None:
    del tensors, args, kwargs


def _is_not_expected(part: str, error: Exception) -> None:
    del part, error
