"""Which optimizer step is in progress, and the `steps` row it becomes.

A step is an optimizer step, counted from 0; one that a loss scaler refused counts. With `step()`
calls, a call ends the step if an optimizer has stepped since the last call, else its loss is
averaged into the coming step. Without calls, a step ends when every optimizer that takes part has
stepped, or before the one that was the first of all to step does so again, or before one that has
read a batch of its own. Without optimizers, each call ends a step.

Whether calls will come is not known in the first step. A critic that steps five times before the
first call shall make one step and not five, so there an optimizer may step again.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from torch import Tensor

from telemetry.capture.steps.continuation import BEGINNING, Continuation
from telemetry.capture.tensors.host import as_known
from telemetry.format.step_flags import StepFlag
from telemetry.format.unused_calls import MANY_CALLS

if TYPE_CHECKING:
    from telemetry.capture.steps.provenance import ClipRecord

Number: TypeAlias = Tensor | float  # a 0-d tensor that stays on its device
_may_be_called = ContextVar("may_be_called", default=True)

AGAIN_LIMIT = 16  # times an optimizer steps again in the first step, which no call has ended
EXPECTED_STEPS = 16  # for which one of several optimizers that has not stepped is waited for
LOSS_REPORTED = int(StepFlag.LOSS_REPORTED)  # every step sets it, and an enumeration takes longer


class StepRecord:
    """What is known of one step; tensors are 0-d and stay on their device.

    What a step does not have is a default of the class: a record is made in every step, and most
    of its values are for sampled steps only.

    Attributes:
        values: By column of `steps`: what its quantities have kept.
        parts: The same for columns of which a step has several numbers, joined by their reduction.
    """

    sampled: bool = False  # parameters and modules are read in this step
    flags: int = 0
    losses: tuple[Tensor | float, ...] = ()
    roots: tuple[Tensor | float, ...] = ()
    root_types: tuple[str, ...] = ()
    backward_calls: int = 0
    lr: Tensor | float | None = None
    samples: int = 0
    grad_norm_total: Tensor | float | None = None
    clip_coefficient: Tensor | float | None = None
    loss_scale: Tensor | float | None = None
    closure_losses: tuple[Tensor | float, ...] = ()
    grad_norms: tuple[Tensor | None, ...] = ()  # of the optimizers that were sampled
    sharded_grad_sumsqs: tuple[Tensor, ...] = ()  # of the same, of what ranks add up
    found_inf: tuple[Tensor, ...] = ()  # not 0: a fused optimizer did not step
    clip: "ClipRecord | None" = None  # of the optimizer that is about to step
    epoch: int | None = None
    param_checksum: Tensor | None = None
    wall_time_s: float = 0.0  # since 1970; made a date on the writer thread
    elapsed_s: float = 0.0
    step_s: float = 0.0
    overhead_s: float = 0.0
    parts: Mapping[str, tuple[Number, ...]] = MappingProxyType({})

    def __init__(self, step: int) -> None:
        self.step = step
        self.values: dict[str, Number] = {}

    def add(self, column: str, value: Number) -> None:
        """Add to what a column has so far."""
        known = self.values.get(column)
        self.values[column] = value if known is None else known + value

    def append(self, column: str, value: Number) -> None:
        """Keep one more number of a column that has several."""
        self.parts = {**self.parts, column: (*self.parts.get(column, ()), value)}

    def report(self, loss: Tensor | float | None) -> None:
        """Add what a loop says that its loss is."""
        if loss is not None:
            self.losses += (loss,)
            self.flags |= LOSS_REPORTED

    def note_roots(self, roots: Sequence[Tensor]) -> None:
        """Add what a backward pass starts from."""
        for root in roots:
            node = root.grad_fn
            self.root_types += ("leaf" if node is None else node.name(),)
            if root.numel() == 1:
                self.roots += (as_known(root),)

    def forget(self, column: str) -> None:
        """Keep nothing of a column."""
        self.values.pop(column, None)
        if column in self.parts:
            self.parts = {name: kept for name, kept in self.parts.items() if name != column}

    @property
    def scalars(self) -> list[Tensor | float | None]:
        """All values that may still be on a device."""
        found = [
            *self.losses,
            *self.closure_losses,
            *self.roots,
            *self.found_inf,
            *self.sharded_grad_sumsqs,
            self.lr,
            self.grad_norm_total,
            self.clip_coefficient,
            self.loss_scale,
            self.param_checksum,
            *self.values.values(),
        ]
        for numbers in self.parts.values():
            found += numbers
        return found

    @property
    def accumulation(self) -> int:
        """Backward calls of the commonest root type."""
        return max(Counter(self.root_types).values(), default=0)


class _Noted(NamedTuple):
    """What forwards and backward passes have added to a record."""

    roots: tuple[Number, ...]
    root_types: tuple[str, ...]
    backward_calls: int
    samples: int
    epoch: int | None
    sums: Mapping[str, Number]

    @classmethod
    def of(cls, record: StepRecord, sums: frozenset[str]) -> "_Noted":
        return cls(
            record.roots,
            record.root_types,
            record.backward_calls,
            record.samples,
            record.epoch,
            {column: value for column, value in record.values.items() if column in sums},
        )

    def give(self, record: StepRecord, sums: frozenset[str]) -> None:
        record.roots = self.roots
        record.root_types = self.root_types
        record.backward_calls = self.backward_calls
        record.samples = self.samples
        record.epoch = self.epoch
        for column in sums:
            record.values.pop(column, None)
        record.values.update(self.sums)


@contextmanager
def without_calls() -> Iterator[None]:
    """Ledgers that are made meanwhile are of scripts that call no `step()`."""
    token = _may_be_called.set(False)
    try:
        yield
    finally:
        _may_be_called.reset(token)


class StepLedger:
    """Decides when a step ends; holds the records that were not yet handed to the writer.

    The newest ended record stays open for one more step: the first `step(loss=...)` call comes
    after the optimizer's hooks had already ended its step.

    Attributes:
        current: The step in progress.
        ended: Closed records that were not taken.
        called: `step()` was called.
        never_stepped: Calls count as steps.
        is_between: An optimizer was the last to do something in this step; `note` tells the rest.
        has_own_batch: A batch of a loader was read since the last step of an optimizer.

    Args:
        n_optimizers: Those of the recording.
        now_s: The time.
        sums: Columns to which passes add: after an optimizer's last step, those of the next step.
    """

    def __init__(
        self, *, n_optimizers: int, now_s: float, sums: frozenset[str] = frozenset()
    ) -> None:
        self._n_optimizers = n_optimizers
        self._sums = sums
        self.go_on(BEGINNING, now_s=now_s)
        self.called = False
        self.never_stepped = False
        self._stepped: set[int] = set()
        self._leader: int | None = None  # the first optimizer to step
        self._known: set[int] = set()  # have stepped in a step that is over
        self._n_again = 0 if _may_be_called.get() else AGAIN_LIMIT
        self._in_turns = False  # each reads its own batches
        self.is_between = False
        self.has_own_batch = False
        self._noted: _Noted | None = None
        self._aside: _Noted | None = None
        self.ended: list[StepRecord] = []
        self._calls_without_step = 0

    def go_on(self, at: Continuation, *, now_s: float) -> None:
        """Count on from there; nothing was counted yet."""
        self.current = StepRecord(step=at.step)
        self._first_step = at.step
        self._last_steps = dict.fromkeys(range(self._n_optimizers), at.step)
        self._n_samples = at.samples
        self.n_epochs = at.epochs  # passes over the training's data that are over
        self._started_s = now_s - at.elapsed_s
        self._step_started_s = now_s

    @property
    def is_untouched(self) -> bool:
        """Nothing has happened since `go_on`."""
        record = self.current
        begun = self._stepped or record.samples or record.backward_calls or record.losses
        return record.step == self._first_step and not begun

    @property
    def completed(self) -> tuple[int, int, int]:
        """The first step that is still to be done; the examples and epochs before it."""
        record = self.current
        if self._stepped and self._expected <= self._stepped:  # its call to `step()` may follow
            return record.step + 1, self._n_samples + record.samples, self.n_epochs
        return record.step, self._n_samples, self.n_epochs

    @property
    def last_begun(self) -> StepRecord:
        """The step that `log()` belongs to: the current one once it has begun, else the last."""
        current = self.current
        begun = self._stepped or current.backward_calls or current.samples or not self.ended
        return current if begun else self.ended[-1]

    def accumulated_before(self, record: StepRecord) -> bool:
        """Whether the step before one that begins had several passes: it may have them too."""
        former = self.last_begun
        return former is not record and former.accumulation > 1

    @property
    def has_stepped(self) -> bool:
        """An optimizer has stepped in the current step."""
        return bool(self._stepped)

    @property
    def n_stepped(self) -> int:
        """Optimizers that have stepped in the current step."""
        return len(self._stepped)

    def must_end_before(self, optimizer: int) -> bool:
        """Whether what the optimizer begins is another step than what others have done.

        With `step()` calls and several optimizers, a call alone is the boundary: a critic may step
        five times for one step of the generator. Without, it is the optimizer that was the first to
        step, and any that has taken its place: after Adam, L-BFGS.
        """
        if self._n_optimizers == 1:
            return optimizer in self._stepped
        if self.called:
            return False
        if optimizer not in self._stepped:
            if self.is_between:  # nothing was computed since: they share their gradients
                return False
            self._in_turns = self.has_own_batch
            takes_over = bool(self._known) and optimizer not in self._known
            return self._in_turns or takes_over or optimizer == self._leader
        if self.current.step == self._first_step:
            self._n_again += 1
            return self._n_again >= AGAIN_LIMIT
        if self._leader not in self._stepped:
            self._leader = optimizer
        return optimizer == self._leader

    @property
    def _expected(self) -> frozenset[int]:
        """Optimizers that take part: all at first, then those that have stepped not long ago."""
        earliest = self.current.step - EXPECTED_STEPS
        return frozenset(i for i, step in self._last_steps.items() if step >= earliest)

    def note(self) -> None:
        """A forward or a backward pass begins, perhaps after an optimizer's step."""
        if self.is_between:
            self.is_between = False
            self._noted = _Noted.of(self.current, self._sums)

    def set_aside(self) -> None:
        """What came after the last step of an optimizer is of the step that begins with `end`."""
        record, before = self.current, self._noted
        if before is None:
            return
        later = _Noted.of(record, self._sums)
        self._aside = _Noted(
            roots=later.roots[len(before.roots) :],
            root_types=later.root_types[len(before.root_types) :],
            backward_calls=later.backward_calls - before.backward_calls,
            samples=later.samples - before.samples,
            epoch=later.epoch,
            sums={
                column: value - before.sums[column] if column in before.sums else value
                for column, value in later.sums.items()
            },
        )
        before.give(record, self._sums)

    def first_in_step(self, optimizer: int) -> bool:
        """Whether this optimizer has not stepped in this step; only its first is sampled."""
        return optimizer not in self._stepped

    def stepped(self, optimizer: int) -> bool:
        """Note an optimizer's step; True if that completes the step without a `step()` call."""
        self._stepped.add(optimizer)
        self._leader = optimizer if self._leader is None else self._leader
        self.is_between = True
        self.has_own_batch = False
        self._noted = None
        self._calls_without_step = 0
        self.never_stepped = False
        return not self.called and (self._in_turns or self._expected <= self._stepped)

    @property
    def ended_before_calls(self) -> StepRecord | None:
        """The step that the first `step()` call speaks of, where the hooks have ended it."""
        if self.called or self._stepped or not self.ended:
            return None
        return self.ended[-1]

    def call(self, loss: Tensor | float | None) -> bool:
        """Note a `step()` call and its loss; True if the call ends the current step."""
        record = self.current
        if not self.called:
            former = self.ended_before_calls
            self.called = True
            if former is not None:
                former.report(loss)
                return False
        record.report(loss)
        if self._stepped or not self._n_optimizers:
            return True
        self._calls_without_step += 1
        if self._calls_without_step >= MANY_CALLS:
            self.count_calls()
        return self.never_stepped

    def count_calls(self) -> None:
        """Calls count as steps until an optimizer steps."""
        self.never_stepped = bool(self._n_optimizers and not self._stepped)

    def end(self, *, now_s: float, overhead_s: float) -> StepRecord:
        """Close the current step and begin the next; returns the closed record."""
        record = self.current
        record.elapsed_s = now_s - self._started_s
        step_s = now_s - self._step_started_s - overhead_s
        record.step_s = step_s if step_s > 0 else 0.0
        record.overhead_s = overhead_s
        record.wall_time_s = time.time()
        for optimizer in self._stepped:
            self._known.add(optimizer)
            self._last_steps[optimizer] = record.step
        self._stepped.clear()
        self.is_between = False
        self._noted = None
        self._step_started_s = now_s
        self._n_samples += record.samples
        self.ended.append(record)
        self.current = StepRecord(step=record.step + 1)
        if self._aside is not None:
            self._aside.give(self.current, self._sums)
            self._aside = None
        return record

    def take(self, *, final: bool) -> list[StepRecord]:
        """Closed records for the writer; all but the newest unless `final`."""
        kept = 0 if final else 1
        taken = self.ended[: len(self.ended) - kept]
        self.ended = self.ended[len(self.ended) - kept :]
        return taken


def is_evaluation_name(name: str) -> bool:
    """Names that belong to an evaluation whatever the loop was doing."""
    return name.lower().startswith(("val", "valid", "eval", "test", "dev"))


def metric_phase(name: str, *, closes_evaluation: bool) -> str:
    """Phase of a logged metric: by its name, else by what the loop was doing."""
    if is_evaluation_name(name):
        return "eval"
    return "eval" if closes_evaluation and not name.lower().startswith("train") else "train"
