"""What an observer of steps may see: the moments of a step, in the order in which they come.

`Recording` knows when each moment is; an observer overrides those it needs. Moments that nobody
overrides cost nothing, so a training loop pays for what is watched and not for what could be. An
observer that needs a moment now and then names it in `at_rest`, and wakes it when it does.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from telemetry.capture.catalogue.catalogue import Catalogue
from telemetry.capture.event import Event
from telemetry.capture.isolation.guard import Call, Guard
from telemetry.capture.packet import Packet
from telemetry.capture.steps.ledger import StepLedger, StepRecord
from telemetry.capture.steps.options import Options
from telemetry.errors import CaptureError


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What every observer of steps is made from.

    Attributes:
        model: The unwrapped module.
        optimizers: Those that the callback was given; none for a loop that has none.
        options: What the user asked to be recorded.
        catalogue: Names of parameters and modules.
        ledger: Tells the step in progress.
        guard: Contains failures inside hooks that an observer sets itself.
        emit: Adds an event to the step in progress.
        put: Hands rows to the writer thread.
        skipped: Counts a step of an optimizer that a loss scaler refused.
        is_sampled: Whether the step in progress is sampled.
        first_bad_loss: The first step whose loss the writer thread saw not to be finite, so far.
    """

    model: nn.Module
    optimizers: Sequence[Optimizer]
    options: Options
    catalogue: Catalogue
    ledger: StepLedger
    guard: Guard
    emit: Callable[[Event], None]
    put: Callable[[Packet], None]
    skipped: Callable[[Optimizer], None]
    is_sampled: Callable[[], bool]
    first_bad_loss: Callable[[], int | None]


class StepObserver:
    """Watches steps from one side.

    Every moment runs on the training thread, inside the guard: an error switches `part` off. Values
    that become known go into the record of the step; its tensors stay on their device.

    Attributes:
        part: Its name in the guard, in log lines and in events.
        at_rest: Moments that it overrides and is not told of until it wakes them.
    """

    part: ClassVar[str]
    at_rest: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, around: Surroundings) -> None:
        self.around = around
        self._watch: Watch | None = None

    def join(self, watch: "Watch") -> None:
        """Be told of moments by this watch."""
        self._watch = watch

    def wake(self, moment: str) -> None:
        """Be told of a moment from now on; harmless when called again."""
        if self._watch is not None:
            self._watch.moments[moment].wake(self)

    def rest(self, moment: str) -> None:
        """Be told of a moment no more; harmless when called again."""
        if self._watch is not None:
            self._watch.moments[moment].rest(self)

    def attached(self) -> None:
        """Recording begins: set hooks."""

    def forward(
        self,
        record: StepRecord,
        module: nn.Module,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
    ) -> None:
        """A forward with gradient enters the model, by this module."""

    def forward_without_gradient(self, record: StepRecord) -> None:
        """A forward without gradient enters the model."""

    def before_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """A backward pass is about to start from these tensors."""

    def after_backward(self, record: StepRecord, roots: Sequence[Tensor]) -> None:
        """It has ended, without an exception."""

    def before_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """An optimizer is about to step; with a closure, after its first evaluation."""

    def step_skipped(self, record: StepRecord, optimizer: Optimizer) -> None:
        """A loss scaler has refused an optimizer's step, which was not begun."""

    def after_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """It has stepped."""

    def other_steps(self, record: StepRecord, optimizer: Optimizer) -> None:
        """An optimizer steps that the callback was not given; perhaps one of another model."""

    def called(self, record: StepRecord) -> None:
        """The loop has called `step()`, which may end the step."""

    def sample_begins(self, record: StepRecord) -> None:
        """A step that is sampled begins."""

    def before_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """An optimizer is about to step for the first time in a sampled step."""

    def after_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """An optimizer has stepped for the first time in a sampled step."""

    def step_ended(self, record: StepRecord) -> None:
        """The step is over; the record can still be filled."""

    def close(self) -> None:
        """Recording ends: remove hooks, put back what was replaced."""


class Moment:
    """One moment of all observers that listen to it.

    Args:
        name: Of the method.
        observers: All of them.
        guard: Runs each part, and skips those that have failed.

    Attributes:
        calls: Of those that listen now; where there are none, nobody needs to be told.
    """

    def __init__(self, name: str, observers: Sequence[StepObserver], guard: Guard) -> None:
        default = getattr(StepObserver, name)
        self._guard = guard
        self._all: tuple[tuple[StepObserver, Call], ...] = tuple(
            (observer, getattr(observer, name))
            for observer in observers
            if getattr(type(observer), name) is not default
        )
        self._at_rest = {observer for observer, _ in self._all if name in observer.at_rest}
        self.calls: tuple[tuple[str, Call], ...] = ()
        self._listen()

    def __call__(self, *arguments: object) -> None:
        """Tell every observer that listens and is still on."""
        self._guard.run(self.calls, arguments)

    def wake(self, observer: StepObserver) -> None:
        """Tell this observer from now on."""
        if observer in self._at_rest:
            self._at_rest.remove(observer)
            self._listen()

    def rest(self, observer: StepObserver) -> None:
        """Tell this observer no more."""
        if observer not in self._at_rest:
            self._at_rest.add(observer)
            self._listen()

    def _listen(self) -> None:
        # A new tuple: a moment may be told right now.
        self.calls = tuple(
            (observer.part, call) for observer, call in self._all if observer not in self._at_rest
        )


class Watch:
    """The observers of one recording, moment by moment.

    Args:
        observers: All of them.
        guard: Contains their failures.

    Attributes:
        moments: All moments by name.
    """

    def __init__(self, observers: Sequence[StepObserver], guard: Guard) -> None:
        self._observers, self._guard = tuple(observers), guard
        moment = functools.partial(Moment, observers=observers, guard=guard)
        self.attached = moment("attached")
        self.forward = moment("forward")
        self.forward_without_gradient = moment("forward_without_gradient")
        self.before_backward = moment("before_backward")
        self.after_backward = moment("after_backward")
        self.before_step = moment("before_step")
        self.step_skipped = moment("step_skipped")
        self.after_step = moment("after_step")
        self.other_steps = moment("other_steps")
        self.called = moment("called")
        self.sample_begins = moment("sample_begins")
        self.before_sampled_step = moment("before_sampled_step")
        self.after_sampled_step = moment("after_sampled_step")
        self.step_ended = moment("step_ended")
        self.moments: dict[str, Moment] = {
            name: value for name, value in vars(self).items() if isinstance(value, Moment)
        }
        for observer in observers:
            observer.join(self)

    def close(self) -> None:
        """Recording ends, also for parts that have failed: what they replaced is put back.

        Raises:
            CaptureError: with `strict`, what came first, after all others were closed.
        """
        refused: CaptureError | None = None
        for observer in self._observers:
            try:
                with self._guard(observer.part):
                    observer.close()
            except CaptureError as error:
                refused = refused or error
        if refused is not None:
            raise refused
