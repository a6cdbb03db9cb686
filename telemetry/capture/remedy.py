"""What a remedy is: one change of a training, made from outside, and what must stay equal.

A file of `remedies/` defines `REMEDY`; `treatment/known.py` finds it there.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, TypeVar

from torch import nn
from torch.optim import Optimizer

from telemetry.errors import UsageError

Group = dict[str, object]  # of an optimizer's `param_groups`; torch gives it no narrower type
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
DOSE = re.compile(r"([a-z][a-z0-9-]*)(?:\[(\d+)\])?(?:([*/=])(.+))?")


class Moment(StrEnum):
    """Where a remedy changes something first, which says what must be equal until then.

    Attributes:
        FORWARD: In a forward, or in the loss: the losses of the steps before are equal.
        UPDATE: In gradients or in the optimizer: the loss of that step is equal as well.
    """

    FORWARD = "forward"
    UPDATE = "update"


class NotApplicable(UsageError):  # noqa: N818 - named after what the user sees
    """A remedy has nothing to change in this training; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dose:
    """How much of a remedy: `lr/8` is the remedy `lr`, the operator `/` and the value `8`.

    Attributes:
        text: As it was asked for.
        name: The remedy.
        group: Number of the parameter group that is meant, as in `lr[1]/8`; None: all.
        operator: `*`, `/` or `=`; '' where no value is given.
        value: What follows the operator.
    """

    text: str
    name: str
    group: int | None = None
    operator: str = ""
    value: str = ""

    @classmethod
    def of(cls, text: str) -> "Dose":
        """A dose from its text.

        Raises:
            UsageError: it has another form.
        """
        found = DOSE.fullmatch(text.strip())
        if found is None:
            raise UsageError(f"{text!r} is not a remedy; write a name, or lr/8, lr*4, clip=1.0.")
        name, group, operator, value = found.groups()
        number = None if group is None else int(group)
        return cls(
            text=text.strip(), name=name, group=number, operator=operator or "", value=value or ""
        )

    def number(self, otherwise: float | None = None) -> float:
        """The value as a positive number.

        Args:
            otherwise: Where no value was given; None: one is needed.

        Raises:
            UsageError: it is none.
        """
        if not self.operator and otherwise is not None:
            return otherwise
        try:
            number = float(self.value)
        except ValueError:
            number = 0.0
        if not 0 < number < float("inf"):
            raise UsageError(f"remedy {self.text!r} needs a positive number, as {self.name}=10.")
        return number

    def factor(self) -> float:
        """What to multiply by.

        Raises:
            UsageError: it is no `name*factor` or `name/factor`.
        """
        if self.operator not in {"*", "/"}:
            raise UsageError(f"remedy {self.text!r} needs a factor, as {self.name}/8.")
        return self.number() if self.operator == "*" else 1 / self.number()

    def forbid_value(self) -> None:
        """Raise UsageError where a value was given to a remedy that takes none."""
        if self.operator or self.group is not None:
            raise UsageError(f"remedy {self.text!r} takes no value; write {self.name}.")


class Function(Protocol[R_co]):
    """A function of torch that is stood in for, whatever it takes."""

    def __call__(self, *arguments: object, **named: object) -> R_co:
        """Its result."""
        ...


class Treated(Protocol):
    """The training that a remedy is attached to; whatever is attached is removed at its end."""

    @property
    def model(self) -> nn.Module:
        """What is trained."""
        ...

    @property
    def optimizers(self) -> tuple[Optimizer, ...]:
        """What trains it."""
        ...

    @property
    def step(self) -> int:
        """Optimizer steps completed."""
        ...

    def acts(self) -> None:
        """Called each time when the remedy has really changed something."""
        ...

    def on_leave(self, undo: Callable[[], None]) -> None:
        """Call a function at the end, such as a handle's `remove`."""
        ...

    def replace(self, owner: object, name: str, value: object) -> None:
        """Set an attribute until the end."""
        ...

    def stand_in(
        self, owner: object, name: str, make: Callable[[Function[R]], Function[R]]
    ) -> None:
        """Put a function in the place of another until the end.

        Args:
            owner: What has the function.
            name: Of the function.
            make: From the function to what stands there; only errors of the former reach the
                script.
        """
        ...

    def before_forward(self, hook: Callable[[nn.Module, tuple[object, ...]], object]) -> None:
        """Call a function before each forward of the model; what it returns are other inputs."""
        ...

    def on_backward(self, hook: Callable[[], None]) -> None:
        """Call a function at each backward pass, whoever starts it."""
        ...

    def before_step(self, hook: Callable[[Optimizer], None]) -> None:
        """Call a function before each step of each optimizer."""
        ...

    def after_step(self, hook: Callable[[Optimizer], None]) -> None:
        """Call a function after each step of each optimizer."""
        ...

    def in_step(self, settings: Callable[[int, Group], Mapping[str, object]]) -> None:
        """Give parameter groups other settings while their optimizer steps.

        Args:
            settings: From number and settings of a group to those that differ in the step; the
                script and its schedule see the old ones.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Remedy:
    """One change of a training.

    Attributes:
        id: Its name, that of its file.
        changes: What it changes, a sentence without a subject: `divides the learning rate`.
        doses: What `--all` tries of it.
        treats: The doses that are tried for a finding, by detector.
        restores: It does what a training loop has to do, and what this one left out or did wrongly;
            else it tunes a choice of which a training may have another.
        moment: Where it acts first.
        attach: Attaches a dose; raises NotApplicable where there is nothing to change.
        check: Raises UsageError where a dose has a form that the remedy does not take.
        same_loss: The training loss means the same with it as without, so that it may be compared;
            else an evaluation decides.
        early: It is attached before the script runs, without a model: it changes how data come.
    """

    id: str
    changes: str
    doses: tuple[str, ...]
    treats: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    restores: bool = False
    moment: Moment
    attach: Callable[[Treated, Dose], None]
    check: Callable[[Dose], object] = Dose.forbid_value
    same_loss: bool = True
    early: bool = False
