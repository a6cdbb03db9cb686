"""Backward passes whose gradients no optimizer uses: it does not step, or steps without gradients.

What a loop means cannot be read from its calls alone. Calls of `step()` without a step of an
optimizer are usual where gradients are accumulated, and where the loop updates the weights itself.
So they count as unused only where gradients are cleared between them, where there are far more
than any step of this loop has taken, or where there are very many (`format/unused_calls`); and a
few weights are compared, on their device, with what they were.

Optimizers that the callback was not given are seen by torch's hook on all of them.
"""

import weakref
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry.capture.catalogue.group_settings import PARAMETERS, parameters_of
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.tensors.plain import plain
from telemetry.format.unused_calls import CLEARED_CALLS, FEW_CALLS, MANY_CALLS

OPTIMIZER_STEPS = "optimizer_steps"
EMPTY_STEPS = "empty_optimizer_steps"
CALLS = "calls_without_step"
MOVED = "weights_moved"

SUSPICIOUS_CALLS = 8  # from which on weights are looked at; most loops that accumulate step before
N_PROBES = 8
N_ELEMENTS = 64  # of each


class UnusedPasses(StepObserver):
    """Counts the steps of optimizers, and the calls of `step()` that come without one.

    A loop whose optimizer steps pays for the counting alone.
    """

    part: ClassVar[str] = "unused_passes"
    at_rest = frozenset({"before_backward", "after_backward"})

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._own = frozenset(around.optimizers)
        self._others: weakref.WeakKeyDictionary[Optimizer, tuple[int, bool]]
        self._others = weakref.WeakKeyDictionary()
        self._has_stepped = False  # since the last call
        self._passes = (-1, 0)  # step, and backward passes in it, at the last call
        self._n_calls = 0  # without a step
        self._n_cleared = 0  # passes whose gradients were gone when the next one began
        self._reaches = False  # a pass has left gradients in the model since the last step
        self._n_foreign = 0  # calls after a step of another optimizer, none of a given one
        self._longest: int | None = None  # calls that a step has taken
        self._gradients: tuple[tuple[Tensor, Tensor, int], ...] = ()
        self._weights: _Weights | None = None

    def close(self) -> None:
        """Let go of weights."""
        self._begin_anew()

    def before_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """A given optimizer steps."""
        self._count(record, optimizer)
        self._n_foreign = 0

    def step_skipped(self, record: StepRecord, optimizer: Optimizer) -> None:
        """The loop has asked for a step, and a loss scaler has refused it."""
        del record, optimizer
        self._has_stepped = True

    def other_steps(self, record: StepRecord, optimizer: Optimizer) -> None:
        """An optimizer steps that was not given."""
        if self._holds(optimizer):
            self._count(record, optimizer)

    def called(self, record: StepRecord) -> None:
        """Count the call if a backward pass came since the last one, and no step."""
        known = self._passes[1] if self._passes[0] == record.step else 0
        has_passed = record.backward_calls > known
        self._passes = record.step, record.backward_calls
        if self._has_stepped:
            self._stepped()
        elif has_passed:
            self._n_calls += 1
            self._idle(record)

    def after_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """Note what the pass has left."""
        del record, roots
        found = (p for p in self.around.model.parameters() if p.grad is not None)
        self._gradients = tuple(
            (parameter, gradient, gradient._version)  # noqa: SLF001 - torch's own count of changes
            for parameter, _ in zip(found, range(N_PROBES), strict=False)
            if (gradient := parameter.grad) is not None
        )
        self._reaches |= bool(self._gradients)

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """Look whether it is still there."""
        del record, roots
        left, self._gradients = self._gradients, ()
        self._n_cleared += bool(left) and all(
            parameter.grad is not gradient or gradient._version != version  # noqa: SLF001
            for parameter, gradient, version in left
        )

    # --- inside -------------------------------------------------------------------------------

    def _count(self, record: StepRecord, optimizer: Optimizer) -> None:
        for group in optimizer.param_groups:  # a generator would take each step as long again
            for parameter in group[PARAMETERS]:
                if parameter.grad is not None:
                    self._has_stepped = True
                    values = record.values
                    values[OPTIMIZER_STEPS] = values.get(OPTIMIZER_STEPS, 0) + 1
                    return
        record.add(EMPTY_STEPS, 1)

    def _holds(self, optimizer: Optimizer) -> bool:
        """Whether an optimizer has a parameter of the model."""
        n_held = sum(len(group["params"]) for group in optimizer.param_groups)
        known = self._others.get(optimizer)
        if known is None or known[0] != n_held:
            entry = self.around.catalogue.entry
            known = n_held, any(entry(p) is not None for p in parameters_of(optimizer))
            self._others[optimizer] = known
        return known[1]

    def _stepped(self) -> None:
        self._has_stepped = False
        ledger = self.around.ledger
        if self._own and not ledger.has_stepped:
            self._n_foreign += 1
            if self._n_foreign >= FEW_CALLS:
                ledger.count_calls()
        if self._longest is None or self._n_calls >= self._longest:
            self._longest = self._n_calls + 1
        if self._n_calls:
            self._begin_anew()

    def _begin_anew(self) -> None:
        self._n_calls = self._n_cleared = 0
        self._reaches = False
        self._gradients, self._weights = (), None
        self.rest("before_backward")
        self.rest("after_backward")

    def _idle(self, record: StepRecord) -> None:
        n_calls = self._n_calls
        if n_calls == 1:
            self.wake("before_backward")
            self.wake("after_backward")
        if n_calls == SUSPICIOUS_CALLS:
            self._weights = _Weights(self.around.model)
        if not self._reaches:  # the forward runs on other tensors, which the loop has made
            return
        limit = self._limit()
        if self._weights is not None and self._weights.are_due(n_calls, limit):
            moved = self._weights.have_moved()
            if moved is not None:
                record.values[MOVED] = moved
        if n_calls >= limit:
            record.values[CALLS] = float(n_calls)
            self.around.ledger.count_calls()

    def _limit(self) -> int:
        """Calls from which on they are no accumulation."""
        if 2 * self._n_cleared >= self._n_calls:
            return CLEARED_CALLS
        return MANY_CALLS if self._longest is None else max(FEW_CALLS, 2 * self._longest)


class _Weights:
    """A few elements of a few parameters as they were."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._is_late = False
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        every = max(1, len(named) // N_PROBES)
        self._former = {
            name: (parameter, read.clone())
            for name, parameter in named[::every][:N_PROBES]
            if (read := _elements(parameter)) is not None
        }

    def are_due(self, n_calls: int, limit: int) -> bool:
        """Whether to look after so many calls: where they become too many, and now and then."""
        is_due = n_calls % CLEARED_CALLS == 0 or (n_calls >= limit and not self._is_late)
        self._is_late |= n_calls >= limit
        return is_due

    def have_moved(self) -> Tensor | float | None:
        """1 if any element is another, else 0; on its device. None where none can be read."""
        present = dict(self._model.named_parameters())
        differing: list[Tensor] = []
        for name, (parameter, former) in self._former.items():
            now = _elements(parameter)
            if present.get(name) is not parameter or now is None or now.shape != former.shape:
                return 1.0  # the loop has put another one into its place
            differing.append((now != former.to(now.device)).any())
        if not differing:
            return None
        return torch.stack([each.to(differing[0].device) for each in differing]).any().float()


def _elements(parameter: Tensor) -> Tensor | None:
    with torch.no_grad():
        readable = plain(parameter.detach())
        if readable is None:
            return None
        every = max(1, readable.numel() // N_ELEMENTS)
        return readable.reshape(-1)[::every][:N_ELEMENTS]
