"""One run being recorded: which hook leads to which observer, and what goes to the writer.

Every method that training reaches runs inside the guard: an error switches its part off, is an
event of the run, and never reaches the loop (unless `strict`).
"""

import functools
from collections.abc import Mapping, Sequence
from threading import get_ident

from torch import Tensor, is_grad_enabled, nn
from torch.optim import Optimizer

from telemetry.capture.activations.watch import ModuleWatch
from telemetry.capture.budget.clocks import Clocks
from telemetry.capture.budget.costs import Costs
from telemetry.capture.catalogue.catalogue import Catalogue
from telemetry.capture.catalogue.group_settings import number_of
from telemetry.capture.data.samples import SampleWatch
from telemetry.capture.event import Event
from telemetry.capture.isolation.guard import Guard, guarded
from telemetry.capture.isolation.hook_scope import undispatched
from telemetry.capture.isolation.torch_state import in_backward, in_transform, is_recomputed
from telemetry.capture.live.alerts import FindingNews
from telemetry.capture.run.evaluations import EvaluationWatch
from telemetry.capture.run.events import NEVER_STEPPED, events_at_attach, failure_event
from telemetry.capture.run.loop_hooks import LoopHooks
from telemetry.capture.run.observers import step_observers, step_quantities
from telemetry.capture.run.quiet_steps import QuietSteps
from telemetry.capture.steps import backward
from telemetry.capture.steps.continuation import BEGINNING, Continuation
from telemetry.capture.steps.entry_hook import Arguments
from telemetry.capture.steps.ledger import StepLedger, StepRecord
from telemetry.capture.steps.observer import Surroundings, Watch
from telemetry.capture.steps.options import Options
from telemetry.capture.steps.quantity import sum_columns
from telemetry.capture.steps.scalars import ScalarLog, as_number
from telemetry.capture.tensors.host import as_kept
from telemetry.capture.tensors.inputs import batch_size
from telemetry.capture.writer.writer import RunWriter
from telemetry.format.manifest import Status
from telemetry.format.step_flags import StepFlag
from telemetry.json_values import Json


class Recording:
    """Wires the observers of one model and its optimizers to one writer."""

    def __init__(
        self,
        model: nn.Module,
        optimizers: Sequence[Optimizer],
        *,
        options: Options,
        writer: RunWriter,
        start: Continuation = BEGINNING,
        clocks: Clocks | None = None,
        dispatch_s: float = 0.0,
    ) -> None:
        self.writer = writer
        clocks = clocks or Clocks.of_system()
        self._clock = clock = clocks.wall
        self._optimizers = list(optimizers)
        self.costs = Costs(options, clocks, dispatch_s=dispatch_s)
        self._guard = Guard(strict=options.strict, on_failure=self._failed, meter=self.costs.meter)
        self._samples = SampleWatch(self._guard, put=writer.put, costs=self.costs)
        quantities = step_quantities()
        self._ledger = StepLedger(
            n_optimizers=len(self._optimizers), now_s=clock(), sums=sum_columns(quantities)
        )
        self._scalars = ScalarLog(self._ledger, now_s=clock(), quantities=quantities)
        self._catalogue = Catalogue(model, self._optimizers)
        self._options = options
        self.modules = ModuleWatch(
            self._catalogue,
            self._guard,
            put=writer.put,
            emit=self.emit,
            charge=self.costs.meter.add,
            options=options,
        )
        around = self._surroundings()
        self._watch = Watch(step_observers(around), self._guard)
        self.news = FindingNews(writer.ref.short, options.on_finding, self._guard)
        writer.judge(self.news, options)
        writer.tell_changes(self.costs.governor.training_has_changed)
        self._evaluations = EvaluationWatch(
            self._catalogue.model, self._guard, self._ledger, self.modules, self.costs
        )
        self.forward_thread = 0  # that of the step's training forwards; 0: none yet
        self._reevaluates = False  # a closure, within the step of its optimizer
        self.waiting: backward.Waiting = []  # for the end of the backward pass
        self._place(start)
        self.steps = QuietSteps(
            self,
            around,
            watch=self._watch,
            evaluations=self._evaluations,
            samples=self._samples,
            scalars=self._scalars,
            costs=self.costs,
            clock=clock,
        )
        self._hooks = LoopHooks(self.steps)
        self._attach(model)

    # --- what the loop calls ------------------------------------------------------------------

    @guarded("steps")
    def called(self, loss: Tensor | float | None, metrics: Mapping[str, object]) -> None:
        """A `step()` call of the loop: the loss of this step, metrics, and perhaps its end."""
        ledger = self._ledger
        never = ledger.never_stepped
        former = ledger.ended_before_calls
        self._watch.called(former or ledger.current)
        ends = ledger.call(self._scalars.known_loss(loss))
        if former is not None:
            self._guard.run(self.writer.keepers, (former,))
        if metrics:
            self._scalars.add(metrics, step=ledger.last_begun.step, closes_evaluation=False)
        if ledger.never_stepped and not never:
            self.emit(NEVER_STEPPED)
        if ends:
            self.end_step()

    @guarded("metrics")
    def log(self, metrics: Mapping[str, object]) -> None:
        """Metrics of the last step begun; logging closes an evaluation."""
        self.steps.leave()
        closes = self._evaluations.logged(metrics)
        step = self._ledger.last_begun.step
        self._samples.logged(metrics, step)
        self._scalars.add(metrics, step=step, closes_evaluation=bool(closes))
        if self._scalars.is_due(self._clock()):
            self._send(final=False)

    def close_evaluation(self) -> None:
        """The end of an explicit evaluation block."""
        self.steps.leave()
        self._evaluations.logged(None)

    def close(self, status: Status, error: Mapping[str, Json] | None) -> None:
        """Remove every hook, write what is left, and end the run."""
        parts = (
            self._hooks.remove,
            self._evaluations.close,
            self.modules.close,
            functools.partial(self._end_last, error),
            self._watch.close,
            functools.partial(self._samples.close, self._ledger.current.step),
            functools.partial(self._send, final=True),
            self._sum_up,
            functools.partial(self.writer.close, status, error=error),
        )
        for part in parts:  # whatever becomes of the one before
            with self._guard.metered(), self._guard("close"), undispatched():
                part()

    @property
    def reached(self) -> Continuation:
        """Where a process goes on that begins with the present weights."""
        return self.costs.reached(*self._ledger.completed)

    @property
    def is_untouched(self) -> bool:
        """Nothing of the training was seen yet."""
        seen = self._evaluations.is_open or self.forward_thread or self._scalars.n_added
        return self._ledger.is_untouched and not seen

    @property
    def progress(self) -> object:
        """Another value after whatever the training does."""
        return self._scalars.progress

    def go_on(self, at: Continuation) -> bool:
        """Count on from there; false, and nothing is changed, if something was recorded already."""
        if not self.is_untouched:
            return False
        with self._guard.metered(), self._guard("steps"):
            self.modules.finish()
            self._place(at)
            self._begin_step()
        return True

    # --- what the hooks call ------------------------------------------------------------------

    @guarded("forwards")
    def forward_begins(
        self, module: nn.Module, args: tuple[object, ...], kwargs: Mapping[str, object]
    ) -> Arguments | None:
        """A forward enters the model."""
        record, evaluations = self._ledger.current, self._evaluations
        if not is_grad_enabled():
            evaluations.forward(module)
            if self._watch.forward_without_gradient.calls:
                self._watch.forward_without_gradient(record)
            self._samples.evaluated((args, kwargs))
        elif not (self._reevaluates or is_recomputed()):
            evaluations.forward(module)
            if self._ledger.is_between:
                self._ledger.note()
            self.forward_thread = get_ident()
            if self._watch.forward.calls:
                self._watch.forward(record, module, args, kwargs)
            if not in_transform():
                evaluations.count(record, batch_size(args, kwargs))
                self._samples.forward(
                    record, module, args, kwargs, may_evaluate=evaluations.may_be_one
                )
        is_seen = record.sampled or evaluations.is_looking
        return self.modules.forward_begins(module, args, kwargs) if is_seen else None

    @guarded("backward")
    def backward_begins(self, roots: Sequence[Tensor], waiting: backward.Waiting) -> None:
        """A backward pass is about to start from these tensors."""
        is_own = backward.is_own(self._catalogue, roots, forward_thread=self.forward_thread)
        ledger = self._ledger
        if is_own or backward.is_alone():
            self._evaluations.backward_begins(ledger.current, is_own=is_own)
        if not is_own:
            return
        ledger.note()
        self.waiting = waiting
        record = ledger.current
        record.backward_calls += 1
        if self._reevaluates:
            return
        record.note_roots(roots)
        if self._watch.before_backward.calls:
            self._watch.before_backward(record, roots)
        if self._watch.after_backward.calls:
            waiting.append(self.after_backward)
        if record.sampled:
            self.modules.observe_roots(roots)

    @guarded("backward")
    def after_backward(self, roots: Sequence[Tensor]) -> None:
        """It has ended, without an exception."""
        self._watch.after_backward(self._ledger.current, roots)

    @guarded("steps")
    def _end_backward(self, roots: Sequence[Tensor]) -> None:
        del roots
        if not self._ledger.called:
            self.end_step()

    @guarded("steps")
    def step_begins(self, index: int, optimizer: Optimizer, *, has_closure: bool) -> None:
        """An optimizer's `step` was called; without a closure, with the gradients it will see."""
        self._reevaluates = False
        ledger = self._ledger
        if ledger.has_stepped and ledger.must_end_before(index):
            ledger.set_aside()
            self.end_step()
        record = ledger.current
        if index == 0 and record.lr is None:
            rate = number_of(optimizer.param_groups[0], "lr")
            record.lr = None if rate is None else as_kept(rate)
        if not has_closure:
            self._see_gradients(record, index, optimizer)

    @guarded("steps")
    def evaluated(self, index: int, optimizer: Optimizer, result: object) -> None:
        """Its closure has run for the first time; until it has stepped, forwards are others."""
        record = self._ledger.current
        self._reevaluates = True
        if record.sampled:
            self.modules.finish()
        loss = as_number(result)
        if loss is not None:
            record.closure_losses += (loss,)
            record.flags |= StepFlag.LOSS_REPORTED
        self._see_gradients(record, index, optimizer)

    def _see_gradients(self, record: StepRecord, index: int, optimizer: Optimizer) -> None:
        if self._watch.before_step.calls:
            self._watch.before_step(record, optimizer)
        if record.sampled and self._ledger.first_in_step(index):
            self._watch.before_sampled_step(record, optimizer)

    @guarded("steps")
    def stepped(self, index: int, optimizer: Optimizer) -> None:
        """It has stepped."""
        record = self._ledger.current
        if record.sampled and self._ledger.first_in_step(index):
            self._watch.after_sampled_step(record, optimizer)
        if self._watch.after_step.calls:
            self._watch.after_step(record, optimizer)
        self._close_step(index)

    def _close_step(self, index: int) -> None:
        self._reevaluates = False
        ends = self._ledger.stepped(index)
        if in_backward():
            if self._end_backward not in self.waiting:  # others may follow in the same pass
                self.waiting.append(self._end_backward)
        elif ends:
            self.end_step()

    @guarded("steps")
    def _skipped(self, optimizer: Optimizer) -> None:
        """A loss scaler has refused a step: it counts."""
        index = self._optimizers.index(optimizer)
        self.steps.leave()
        self.step_begins(index, optimizer, has_closure=True)
        self._ledger.current.flags |= StepFlag.SKIPPED
        self._watch.step_skipped(self._ledger.current, optimizer)
        self._close_step(index)

    # --- inside -------------------------------------------------------------------------------

    def _attach(self, model: nn.Module) -> None:
        self._hooks.install(model, self._optimizers, self.modules)
        for event in events_at_attach(self._catalogue.model, self._optimizers):
            self.emit(event)
        self.writer.put(self._catalogue.packet())
        self._watch.attached()
        with self._guard.metered():
            self._begin_step()

    def _place(self, at: Continuation) -> None:
        self._ledger.go_on(at, now_s=self._clock())
        self.costs.go_on(at)

    def _surroundings(self) -> Surroundings:
        return Surroundings(
            model=self._catalogue.model,
            optimizers=self._optimizers,
            options=self._options,
            catalogue=self._catalogue,
            ledger=self._ledger,
            guard=self._guard,
            emit=self.emit,
            put=self.writer.put,
            skipped=self._skipped,
            is_sampled=lambda: self._ledger.current.sampled,
            first_bad_loss=lambda: self.writer.first_bad_loss,
        )

    def _end_last(self, error: Mapping[str, Json] | None) -> None:
        if error is not None:
            self.emit(failure_event(error))
        current = self._ledger.current
        if self._ledger.has_stepped or current.losses or current.roots:
            self._watch.step_ended(current)
            self._end_record(current, self._clock())

    def _sum_up(self) -> None:
        self.writer.add_summary(**self.costs.summary(), **self._scalars.summary())

    def end_step(self) -> None:
        """The step in progress is over, and the next one begins."""
        record = self._ledger.current
        self._evaluations.step_ends()
        if record.sampled:
            self.modules.finish()
        if self._watch.step_ended.calls:
            self._watch.step_ended(record)
        now_s = self._clock()
        self._end_record(record, now_s)
        change = self.costs.step_ended(record.step)
        if change is not None:
            self.writer.event("cadence", str(change), step=record.step, payload=change.payload())
        if self._scalars.is_due(now_s):
            self._send(final=False)
        self._begin_step()
        if self.news.waiting:
            self.news.tell()

    def _end_record(self, record: StepRecord, now_s: float) -> None:
        self._scalars.add_rates(self._optimizers, step=record.step)
        self._samples.step_ended(record)
        self._ledger.end(now_s=now_s, overhead_s=self.costs.take_step())
        self.forward_thread = 0
        self.writer.mark_step(record.step)
        self._guard.run(self.writer.keepers, (record,))

    def _begin_step(self) -> None:
        record = self._ledger.current
        record.sampled = self.costs.sampled(record.step)
        self._samples.step_begins(record)
        self._evaluations.step_begins(record)
        if record.sampled:
            self.modules.begin(record.step)
            if self._watch.sample_begins.calls:
                self._watch.sample_begins(record)
        self.steps.begin(record)

    def _send(self, *, final: bool) -> None:
        packet = self._scalars.packet(now_s=self._clock(), final=final)
        if packet is not None:
            self.writer.put(packet)

    def emit(self, event: Event) -> None:
        """Add an event to the step in progress."""
        self.writer.emit(event, step=self._ledger.current.step)

    def _failed(self, part: str, error: Exception) -> None:
        self.emit(Event.switched_off(part, error))
