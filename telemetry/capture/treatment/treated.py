"""Remedies on one training, from the callback's first moment to its end."""

from collections.abc import Callable, Mapping, Sequence
from typing import ParamSpec, TypeVar, cast

from torch import nn
from torch.optim import Optimizer

from telemetry.capture.isolation.guard import Guard
from telemetry.capture.remedy import Dose, Function, Group, Moment, NotApplicable, Remedy
from telemetry.capture.steps import backward
from telemetry.capture.treatment.containment import contained_hook, contained_stand_in
from telemetry.capture.treatment.known import remedy_of

SETTINGS = "settings of remedies"  # what is switched off where they fail together
Undo = Callable[[], None]
OnFailure = Callable[[str, Exception], None]
P = ParamSpec("P")
R = TypeVar("R")
Settings = Callable[[int, Group], Mapping[str, object]]


class Treatment:
    """What all remedies of a training share: how far it is, and how to leave no trace.

    Made before the model is known where remedies of the data are to be in time; `join` then names
    model and optimizers.

    Attributes:
        refusals: Why remedies do not apply, by dose, where that is no error.
        failures: Errors that have switched remedies off, by remedy.
        on_failure: Told these as they come.
        guard: Keeps them from the training.

    Args:
        doses: What is to be changed.
        forgiving: A remedy that does not apply is left out.
    """

    def __init__(self, doses: Sequence[Dose], *, forgiving: bool = False) -> None:
        self.refusals: dict[str, str] = {}
        self.failures: dict[str, Exception] = {}
        self.on_failure: OnFailure = _ignore
        self.guard = Guard(strict=False, on_failure=self._failed)
        self._forgiving = forgiving
        self.model: nn.Module = nn.Module()
        self.optimizers: tuple[Optimizer, ...] = ()
        self.step = 0
        self.remedies = [OneRemedy(self, remedy_of(dose), dose) for dose in doses]
        self.settings: list[Settings] = []  # that remedies give within a step
        self._undo: list[Undo] = []

    def attach_early(self) -> None:
        """Attach the remedies that change how data come."""
        for one in self.remedies:
            if one.remedy.early:
                self._attach(one)

    def join(self, model: nn.Module, optimizers: Sequence[Optimizer], before: Undo | None) -> None:
        """Attach what is not yet attached.

        Args:
            model: What is trained.
            optimizers: What trains it.
            before: Called before each step of the first optimizer, after everything else.

        Raises:
            NotApplicable: a remedy has nothing to change here.
        """
        self.model, self.optimizers, self.step = model, tuple(optimizers), 0
        for one in self.remedies:
            self._attach(one)
        if self.settings:
            step_settings = StepSettings(self.settings, self.guard)
            for optimizer in self.optimizers:
                self._undo.extend(step_settings.install(optimizer))
        for optimizer in self.optimizers[:1]:
            self._undo.append(optimizer.register_step_post_hook(self._stepped).remove)
            if before is not None:
                handle = optimizer.register_step_pre_hook(lambda *_: before())
                self._undo.append(handle.remove)

    def leave(self) -> None:
        """Remove whatever was attached."""
        for undo in self._undo:
            undo()
        self._undo.clear()
        for one in self.remedies:
            one.undo()

    def _attach(self, one: "OneRemedy") -> None:
        try:
            one.attach()
        except NotApplicable as error:
            if not self._forgiving:
                raise
            self.refusals[one.dose.text] = str(error)
        except Exception as error:  # noqa: BLE001 - the guard knows what is to be raised
            self.guard.caught(one.part, error)
            one.undo()

    def _failed(self, part: str, error: Exception) -> None:
        self.failures[part] = error
        self.on_failure(part, error)

    def _stepped(self, *_: object) -> None:
        self.step += 1


class OneRemedy:
    """One remedy on the training; see `Treated`.

    Attributes:
        equal_steps: Steps whose losses must equal the control's, bit for bit; None while it has
            not changed anything.
        n_acts: How often it has.
        part: What is switched off if it fails.

    Args:
        treatment: That it is part of.
        remedy: What is attached.
        dose: How much of it.
    """

    def __init__(self, treatment: Treatment, remedy: Remedy, dose: Dose) -> None:
        self.remedy, self.dose = remedy, dose
        self.part = f"remedy {dose.text}"
        self.equal_steps: int | None = None
        self.n_acts = 0
        self._treatment = treatment
        self._undo: list[Undo] = []
        self._is_attached = False

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        return self._treatment.model

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """What trains it."""
        return self._treatment.optimizers

    @property
    def step(self) -> int:
        """Optimizer steps completed."""
        return self._treatment.step

    def attach(self) -> None:
        """Attach it, once."""
        if not self._is_attached:
            self._is_attached = True
            self.remedy.attach(self, self.dose)

    def undo(self) -> None:
        """Remove it; it may be attached again."""
        for undo in reversed(self._undo):
            with self._treatment.guard(self.part):
                undo()
        self._undo.clear()
        self._is_attached = False

    def acts(self) -> None:
        """It has changed something."""
        if self.equal_steps is None:
            # Of several optimizers one may step before the other's loss of the same step.
            is_after_loss = self.remedy.moment is Moment.UPDATE and len(self.optimizers) == 1
            self.equal_steps = self.step + is_after_loss
        self.n_acts += 1

    def on_leave(self, undo: Undo) -> None:
        """Call a function at the end."""
        self._undo.append(undo)

    def replace(self, owner: object, name: str, value: object) -> None:
        """Set an attribute until the end; one that was inherited is inherited again."""
        had = name in vars(owner)
        former = getattr(owner, name, None)
        setattr(owner, name, value)
        self._undo.append(
            (lambda: setattr(owner, name, former)) if had else (lambda: delattr(owner, name))
        )

    def stand_in(
        self, owner: object, name: str, make: Callable[[Function[R]], Function[R]]
    ) -> None:
        """Put a function in the place of another until the end; see `Treated`."""
        former = cast("Function[R]", getattr(owner, name))
        inner = contained_stand_in(self._treatment.guard, self.part, former, make)
        self.replace(owner, name, inner)

    def before_forward(self, hook: Callable[[nn.Module, tuple[object, ...]], object]) -> None:
        """Call a function before each forward of the model."""
        self.on_leave(self.model.register_forward_pre_hook(self._contained(hook)).remove)

    def on_backward(self, hook: Callable[[], None]) -> None:
        """Call a function at each backward pass."""
        contained = self._contained(hook)

        def note(*_: object) -> None:
            contained()

        backward.observe(note)
        self.on_leave(lambda: backward.forget(note))

    def before_step(self, hook: Callable[[Optimizer], None]) -> None:
        """Call a function before each step of each optimizer."""
        hook = self._contained(hook)
        for optimizer in self.optimizers:
            self.on_leave(optimizer.register_step_pre_hook(lambda one, *_: hook(one)).remove)

    def after_step(self, hook: Callable[[Optimizer], None]) -> None:
        """Call a function after each step of each optimizer."""
        hook = self._contained(hook)
        for optimizer in self.optimizers:
            self.on_leave(optimizer.register_step_post_hook(lambda one, *_: hook(one)).remove)

    def in_step(self, settings: Settings) -> None:
        """Give parameter groups other settings while their optimizer steps."""
        contained = self._contained(settings)

        def settled(number: int, group: Group) -> Mapping[str, object]:
            return contained(number, group) or {}

        self._treatment.settings.append(settled)
        self.on_leave(lambda: self._treatment.settings.remove(settled))

    def _contained(self, hook: Callable[P, R]) -> Callable[P, R | None]:
        return contained_hook(self._treatment.guard, self.part, hook)


def _ignore(_part: str, _error: Exception) -> None:
    """Nobody is to be told."""


class StepSettings:
    """Settings of parameter groups that hold within a step alone.

    One pair of hooks for all remedies: the settings of the script are put back whole, whatever
    remedies have done one after the other.

    Args:
        settings: Of each remedy, from number and settings of a group to those that differ.
        guard: Keeps errors from the training.
    """

    def __init__(self, settings: Sequence[Settings], guard: Guard) -> None:
        self._settings = settings
        self._guard = guard
        self._former: dict[int, list[Group]] = {}

    def install(self, optimizer: Optimizer) -> list[Undo]:
        """Hook an optimizer's step."""

        def change(one: Optimizer, *_: object) -> None:
            with self._guard(SETTINGS):
                if self._guard.enabled(SETTINGS):
                    self._change(one)
            if not self._guard.enabled(SETTINGS):
                restore(one)  # whatever it had changed before it failed

        def restore(one: Optimizer, *_: object) -> None:
            with self._guard(SETTINGS):
                self._restore(one)

        return [
            optimizer.register_step_pre_hook(change).remove,
            optimizer.register_step_post_hook(restore).remove,
        ]

    def _change(self, optimizer: Optimizer) -> None:
        self._restore(optimizer)  # after a step that raised
        kept: list[Group] = [{} for _ in optimizer.param_groups]
        self._former[id(optimizer)] = kept
        for settings in self._settings:
            for number, group in enumerate(optimizer.param_groups):
                changed = settings(number, group)
                kept[number].update(
                    {name: group[name] for name in changed if name not in kept[number]}
                )
                group.update(changed)

    def _restore(self, optimizer: Optimizer) -> None:
        kept = self._former.pop(id(optimizer), [])
        for group, values in zip(optimizer.param_groups, kept, strict=False):
            group.update(values)
