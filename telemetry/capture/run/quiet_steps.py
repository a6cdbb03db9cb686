"""The short way through a step in which nothing is looked at, as nearly every step is.

A loop does the same in each step: one forward with gradient, one backward pass from one scalar, one
step of its optimizer, one call of `step()`. The hooks of such a step note the few numbers that its
row holds, and tell the observers that listen. Whatever comes otherwise (a sampled step, another
order, a closure, a mode around it) goes the whole way through `Recording`. Both ways fill the same
record, so a step may change over at any moment.

Most such steps are not timed, for reading clocks costs as much as the hooks do. What they cost is
known from those that are (`budget/costs.py`).
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from threading import get_ident
from typing import Protocol

import torch
from torch import Tensor, is_grad_enabled, nn
from torch.optim import Optimizer

from telemetry.capture.budget.costs import Costs
from telemetry.capture.data.samples import SampleWatch
from telemetry.capture.environment.open_callbacks import n_open
from telemetry.capture.isolation.guard import guarded, shortcut
from telemetry.capture.isolation.torch_state import NO_PASS, graph_task
from telemetry.capture.live.alerts import FindingNews
from telemetry.capture.run.evaluations import EvaluationWatch
from telemetry.capture.steps import backward
from telemetry.capture.steps.entry_hook import Arguments
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import Surroundings, Watch
from telemetry.capture.steps.scalars import ScalarLog
from telemetry.capture.tensors.host import as_known
from telemetry.capture.tensors.inputs import batch_size
from telemetry.capture.writer.writer import RunWriter

# What has come last on the short way; each moment but the first follows the one before.
OTHERWISE, BEGUN, FORWARD, BACKWARD, STEPPING, STEPPED = range(6)

transform: Callable[[], object] = torch._C._functorch.peek_interpreter_stack  # noqa: SLF001


class WholeWay(Protocol):
    """What a recording does at each moment, whatever the step is like."""

    forward_thread: int
    waiting: backward.Waiting
    news: FindingNews
    writer: RunWriter

    def forward_begins(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Arguments | None:
        """A forward enters the model."""
        ...

    def backward_begins(self, roots: Sequence[Tensor], waiting: backward.Waiting) -> None:
        """A backward pass is about to start."""
        ...

    def after_backward(self, roots: Sequence[Tensor]) -> None:
        """It has ended."""
        ...

    def step_begins(self, index: int, optimizer: Optimizer, *, has_closure: bool) -> None:
        """An optimizer's `step` was called."""
        ...

    def evaluated(self, index: int, optimizer: Optimizer, result: object) -> None:
        """Its closure has run for the first time."""
        ...

    def stepped(self, index: int, optimizer: Optimizer) -> None:
        """It has stepped."""
        ...

    def called(self, loss: Tensor | float | None, metrics: Mapping[str, object]) -> None:
        """The loop has called `step()`."""
        ...

    def end_step(self) -> None:
        """The step in progress is over."""
        ...


class QuietSteps:
    """Told of each moment of the training; hands on what does not go the short way.

    Args:
        whole: The other way.
        around: What the recording is made from; steps of several optimizers go the whole way.
        watch: The observers.
        evaluations: Know which forwards are those of the training.
        samples: Hash its batches.
        scalars: Keep metrics.
        costs: Say which steps are timed.
        clock: That of the recording.

    Attributes:
        stage: What has come last; `OTHERWISE`: the step goes the whole way.
        is_timed: Whether the moments of this step are timed.
        evaluated: A closure has run; such steps go the whole way.
    """

    def __init__(  # noqa: PLR0913 - a step meets all of them
        self,
        whole: WholeWay,
        around: Surroundings,
        *,
        watch: Watch,
        evaluations: EvaluationWatch,
        samples: SampleWatch,
        scalars: ScalarLog,
        costs: Costs,
        clock: Callable[[], float],
    ) -> None:
        self.whole = whole
        self.stage = OTHERWISE
        self.is_timed = True
        self.evaluated = whole.evaluated
        self._guard = around.guard
        self._model = around.model
        self._optimizers = around.optimizers
        self._ledger = around.ledger
        self._watch = watch
        self._evaluations = evaluations
        self._samples = samples
        self._scalars = scalars
        self._costs = costs
        self._record = around.ledger.current
        self._mode = True
        self._until = 0  # the next step that is not quiet, or timed
        self._clock = clock

    def begin(self, record: StepRecord) -> None:
        """A step begins; whether it goes the short way."""
        mode = self._evaluations.usual_mode
        is_quiet = (
            len(self._optimizers) == 1
            and len(self._optimizers[0].param_groups) == 1  # others have rates of their own
            and mode is not None
            and not record.sampled
            and not record.backward_calls  # what came after the last step of the optimizer
            and not record.samples
            and not self._guard.off
        )
        if mode is not None:
            self._mode = mode
        self._record = record
        self.is_timed = self._costs.meter.is_exact
        self.stage = BEGUN if is_quiet else OTHERWISE
        if is_quiet:
            self._until = record.step if self.is_timed else self._costs.quiet_until(record.step)

    def leave(self) -> None:
        """The rest of the step goes the whole way."""
        self.stage = OTHERWISE

    # --- the moments --------------------------------------------------------------------------

    @shortcut("forwards", BEGUN, attrgetter("whole.forward_begins"))
    def forward_begins(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> bool:
        """A forward of the training, in the mode in which it always runs."""
        mode = self._mode
        is_usual = is_grad_enabled() and module.training is mode and self._model.training is mode
        if not is_usual or graph_task() != NO_PASS or transform() is not None:
            return False
        record, calls = self._record, self._watch.forward.calls
        self.whole.forward_thread = get_ident()
        if calls:
            self._guard.run(calls, (record, module, args, kwargs))
        self._evaluations.count(record, batch_size(args, kwargs))
        if self._samples.hashes:
            self._samples.forward(record, module, args, kwargs, may_evaluate=False)
        return True

    @shortcut("backward", FORWARD, attrgetter("whole.backward_begins"))
    def backward_begins(self, roots: Sequence[Tensor], waiting: backward.Waiting) -> bool:
        """Its backward pass, from one number."""
        if len(roots) != 1 or n_open() > 1:
            return False
        root = roots[0]
        node = root.grad_fn
        if node is None or root.numel() != 1:
            return False
        record, watch = self._record, self._watch
        self.whole.waiting = waiting
        self._evaluations.trained()
        record.backward_calls = 1
        record.root_types = (node.name(),)
        record.roots = (as_known(root),)
        if watch.before_backward.calls:
            self._guard.run(watch.before_backward.calls, (record, roots))
        if watch.after_backward.calls:
            waiting.append(self.whole.after_backward)
        return True

    @shortcut("steps", BACKWARD, attrgetter("whole.step_begins"))
    def step_begins(self, index: int, optimizer: Optimizer, *, has_closure: bool) -> bool:
        """The optimizer is about to step, after the pass and with a plain rate."""
        del index
        rate = optimizer.param_groups[0].get("lr")
        if has_closure or type(rate) is not float or graph_task() != NO_PASS:
            return False
        record, calls = self._record, self._watch.before_step.calls
        record.lr = rate
        if calls:
            self._guard.run(calls, (record, optimizer))
        return True

    @shortcut("steps", STEPPING, attrgetter("whole.stepped"))
    def stepped(self, index: int, optimizer: Optimizer) -> bool:
        """It has stepped, which ends the step where no call of `step()` does."""
        if graph_task() != NO_PASS:
            return False
        calls = self._watch.after_step.calls
        if calls:
            self._guard.run(calls, (self._record, optimizer))
        if self._ledger.stepped(index):
            self._end()
        return True

    @shortcut("steps", STEPPED, attrgetter("whole.called"))
    def called(self, loss: Tensor | float | None, metrics: Mapping[str, object]) -> bool:
        """The call that ends the step."""
        record, calls = self._record, self._watch.called.calls
        if not self._ledger.called:
            return False
        if calls:
            self._guard.run(calls, (record,))
        if isinstance(loss, Tensor) and loss.numel() == 1:
            record.report(as_known(loss))
        else:
            record.report(self._scalars.known_loss(loss))
        if metrics:
            self._scalars.add(metrics, step=record.step, closes_evaluation=False)
        self._end()
        return True

    @guarded("steps")
    def other_steps(self, optimizer: Optimizer) -> None:
        """An optimizer steps that was not given; neither way changes by that."""
        self._watch.other_steps(self._ledger.current, optimizer)

    def _end(self) -> None:
        """The step is over; where the next one is quiet as well, nothing has to be decided."""
        costs, record = self._costs, self._record
        now_s = self._clock()
        if (
            record.step + 1 >= self._until
            or self._watch.step_ended.calls
            or self._samples.hashes
            or self.whole.news.waiting
            or self._scalars.is_due(now_s)
        ):
            if not self.is_timed:
                costs.add_usual()
            self.whole.end_step()
            return
        ledger = self._ledger
        ledger.end(now_s=now_s, overhead_s=costs.quiet_step_ended())
        self.whole.writer.mark_step(record.step)
        self._guard.run(self.whole.writer.keepers, (record,))
        self.whole.forward_thread = 0
        self._record = ledger.current
        self.stage = BEGUN
