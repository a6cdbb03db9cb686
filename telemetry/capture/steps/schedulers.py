"""What sets the learning rate and other settings of the optimizers: schedulers, or the loop.

`step` of torch's learning-rate schedulers is replaced while somebody observes: that of
`LRScheduler`, and that of each of its subclasses, those of users too, that has one of its own and
may never call the inherited one. A call within a call, as of a chain of schedulers, is part of it,
and so is the one that each scheduler makes when it is built.
"""

import functools
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import FunctionType
from typing import ClassVar

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from telemetry.capture.catalogue.group_settings import Change, Settings, changes, settings_of_groups
from telemetry.capture.event import Event
from telemetry.capture.isolation.guard import guarded
from telemetry.capture.isolation.replaced_methods import MakeMethod, ReplacedMethods, owners_of
from telemetry.capture.steps.ledger import StepRecord
from telemetry.capture.steps.observer import StepObserver, Surroundings
from telemetry.capture.steps.scalars import as_number
from telemetry.json_values import Json

MAX_SCHEDULERS = 64  # that are told of
MAX_GROUPS = 16  # named in one event
LONGEST_PAUSE = 10_000  # steps between two events about a setting that changes all the time
CYCLED = frozenset({"momentum", "betas"})  # what torch's cyclic schedulers set besides lr
MAX_ENTRIES = 64  # of a list, as of milestones or learning rates
STATE = frozenset({"last_epoch", "best", "num_bad_epochs", "cooldown_counter", "num_bad_steps"})
INSIDE = ("_schedulers", "schedulers")
MILESTONES = "_milestones"  # of a sequence of schedulers


class ScheduleWatch(StepObserver):
    """Fills `scheduler_calls` and `watched_value`; tells of schedulers and of changed settings.

    The latter are those that the loop changed itself.
    Settings are compared from sample to sample, so nothing is read in the steps between. A learning
    rate that its scheduler has not set is told once for an optimizer, for the rows have it;
    other settings each time, at most in steps 1, 2, 4, ... of those that go on changing.
    """

    part: ClassVar[str] = "schedule"

    def __init__(self, around: Surroundings) -> None:
        super().__init__(around)
        self._guard = around.guard
        self._optimizers = frozenset(around.optimizers)
        self._schedulers: dict[int, weakref.ref[LRScheduler]] = {}
        self._watching: weakref.ref[LRScheduler] | None = None  # the first that is given a value
        self._rates: dict[Optimizer, list[object]] = {}  # that its scheduler has set
        self._scheduled: set[Optimizer] = set()  # since its last sample
        self._settings: dict[Optimizer, tuple[int, Settings]] = {}  # at which sampled step
        self._told: dict[tuple[Optimizer, str], _Pause] = {}

    def attached(self) -> None:
        """Observe torch's schedulers."""
        _methods.observe(self)

    def close(self) -> None:
        """Put them back; tell what a pause has kept back."""
        _methods.forget(self)
        for (optimizer, key), pause in self._told.items():
            if pause.kept_back:
                self._tell(optimizer, key, pause, step=self.around.ledger.last_begun.step)

    @guarded(part)
    def scheduled(
        self, scheduler: LRScheduler, args: Sequence[object], kwargs: Mapping[str, object]
    ) -> None:
        """Count the call for the step that it follows, and keep the value that it was given."""
        optimizer = getattr(scheduler, "optimizer", None)
        if optimizer not in self._optimizers:
            return
        known = self._schedulers.get(id(scheduler))
        if known is None or known() is not scheduler:
            self._introduce(scheduler, optimizer)
        self.around.ledger.last_begun.add("scheduler_calls", 1)
        self._scheduled.add(optimizer)
        watched = _watched(scheduler, args, kwargs)
        if watched is not None:
            self._keep_watched(scheduler, watched)
        rates = vars(scheduler).get("_last_lr")
        if isinstance(rates, list):
            self._rates[optimizer] = rates

    def before_sampled_step(self, record: StepRecord, optimizer: Optimizer) -> None:
        """Compare its settings with those at its last sample."""
        settings = settings_of_groups(optimizer)
        former = self._settings.get(optimizer)
        self._settings[optimizer] = record.step, settings
        if former is not None:
            since, before = former
            for change in changes(before, settings):
                if not self._is_scheduled(optimizer, change):
                    self._note(optimizer, change, since=since)
        for (owner, key), pause in self._told.items():
            if owner is optimizer and pause.kept_back and pause.is_over(record.step):
                self._tell(owner, key, pause, step=record.step)
        self._scheduled.discard(optimizer)

    # --- inside -------------------------------------------------------------------------------

    def _introduce(self, scheduler: LRScheduler, optimizer: Optimizer) -> None:
        if len(self._schedulers) >= MAX_SCHEDULERS:
            return
        self._schedulers[id(scheduler)] = weakref.ref(scheduler)
        ledger = self.around.ledger
        steps = ledger.current.step + ledger.has_stepped
        index = list(self.around.optimizers).index(optimizer)
        settings = scheduler_settings(scheduler)
        message = f"{settings['class']} sets the learning rate of {type(optimizer).__name__}"
        if not steps:
            message += ", called before the optimizer has stepped"
        self.around.emit(
            Event(
                kind="scheduler",
                message=message,
                payload={"optimizer": index, "steps_before": steps, **settings},
            )
        )

    def _keep_watched(self, scheduler: LRScheduler, watched: object) -> None:
        """Of one scheduler alone: values of two would make no course."""
        if self._watching is None:
            self._watching = weakref.ref(scheduler)
        number = as_number(watched)
        if self._watching() is scheduler and number is not None:
            self.around.ledger.last_begun.values["watched_value"] = number

    def _is_scheduled(self, optimizer: Optimizer, change: Change) -> bool:
        if change.key in CYCLED:
            return optimizer in self._scheduled
        rates = self._rates.get(optimizer, [])
        return (
            change.key == "lr" and change.group < len(rates) and rates[change.group] == change.after
        )

    def _note(self, optimizer: Optimizer, change: Change, *, since: int) -> None:
        pause = self._told.get((optimizer, change.key))
        if pause is None:
            pause = self._told[optimizer, change.key] = _Pause()
        elif change.key == "lr":
            return
        pause.add(change, since)

    def _tell(self, optimizer: Optimizer, key: str, pause: "_Pause", *, step: int) -> None:
        found, since = pause.told(step)
        groups: list[Json] = [dict(change.payload()) for change in found[:MAX_GROUPS]]
        first = found[0]
        others = f" and of {len(found) - 1} more" if len(found) > 1 else ""
        self.around.emit(
            Event(
                kind="hyperparameter",
                message=f"{key} of {type(optimizer).__name__} was changed by the loop from "
                f"{first.before} to {first.after} in group {first.group}{others}",
                payload={
                    "optimizer": list(self.around.optimizers).index(optimizer),
                    "setting": key,
                    "after_step": since,
                    "groups": groups,
                },
            )
        )


class _Pause:
    """Changes of one setting that were not told, and until which step they are kept back."""

    def __init__(self) -> None:
        self.kept_back: dict[int, Change] = {}  # by group; from the last value that was told
        self._since = 0
        self._until = 0
        self._length = 1

    def add(self, change: Change, since: int) -> None:
        """Keep a change that came after a step, joined with the former ones of its group."""
        if not self.kept_back:
            self._since = since
        former = self.kept_back.get(change.group)
        self.kept_back[change.group] = (
            change if former is None else change._replace(before=former.before)
        )

    def is_over(self, step: int) -> bool:
        """Whether what is kept may be told."""
        return step >= self._until

    def told(self, step: int) -> tuple[list[Change], int]:
        """Let go of the changes; they began after which step."""
        found = list(self.kept_back.values())
        self.kept_back = {}
        self._until = step + self._length
        self._length = min(2 * self._length, LONGEST_PAUSE)
        return found, self._since


def scheduler_settings(scheduler: LRScheduler) -> dict[str, Json]:
    """Class and plain settings; those of schedulers inside it under `schedulers`.

    Tensors, functions and what changes from call to call are left out.
    """
    found: dict[str, Json] = {"class": type(scheduler).__name__}
    for name, value in vars(scheduler).items():
        if name in INSIDE and isinstance(value, Sequence):
            parts = [part for part in value if isinstance(part, LRScheduler)]
            found["schedulers"] = [scheduler_settings(part) for part in parts[:MAX_ENTRIES]]
        elif name == MILESTONES or not (name.startswith("_") or name in STATE):
            plain = _plain(value)
            if plain is not None:
                found[name.lstrip("_")] = plain
    return found


def _plain(value: object) -> Json:
    if isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Counter):  # how MultiStepLR keeps its milestones
        value = sorted(value.elements())
    if isinstance(value, list | tuple):
        entries = [_plain(entry) for entry in value[:MAX_ENTRIES]]
        return entries if entries and None not in entries else None
    return None


def _find() -> Iterator[tuple[type, str, MakeMethod]]:
    for owner in owners_of(LRScheduler, "step"):
        yield owner, "step", _observed_step
    for owner in owners_of(LRScheduler, "_initial_step"):
        yield owner, "_initial_step", _observed_initial_step


_methods: ReplacedMethods[ScheduleWatch] = ReplacedMethods(_find)
_stepping: set[int] = set()  # threads that are inside a scheduler


def _observed_step(original: FunctionType) -> object:
    thread_of = threading.get_ident  # looked up once

    @functools.wraps(original)
    def step(scheduler: LRScheduler, *args: object, **kwargs: object) -> object:
        if torch.compiler.is_compiling():
            return original(scheduler, *args, **kwargs)
        thread = thread_of()
        if thread in _stepping:
            return original(scheduler, *args, **kwargs)
        _stepping.add(thread)
        try:
            result = original(scheduler, *args, **kwargs)
        finally:
            _stepping.discard(thread)
        for observer in _methods.observers:
            observer.scheduled(scheduler, args, kwargs)
        return result

    return step


def _watched(
    scheduler: LRScheduler, args: Sequence[object], kwargs: Mapping[str, object]
) -> object:
    """What a scheduler that looks at a value is given; None for others."""
    if not isinstance(scheduler, ReduceLROnPlateau):
        return None
    return args[0] if args else kwargs.get("metrics")


def _observed_initial_step(original: FunctionType) -> object:
    @functools.wraps(original)
    def initial_step(scheduler: LRScheduler) -> object:
        thread = threading.get_ident()
        if thread in _stepping:
            return original(scheduler)
        _stepping.add(thread)
        try:
            return original(scheduler)
        finally:
            _stepping.discard(thread)

    return initial_step
