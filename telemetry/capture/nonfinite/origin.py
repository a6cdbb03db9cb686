"""Where the first value that is not finite came from: what was found, and what can be inferred.

Two ways lead to an origin. While the weights are still finite, one more forward (and backward) of
the batch shows the operation. Once an optimizer has spread the damage, what is left of it tells: a
bad gradient flows back to everything before its origin and to nothing after it, and an optimizer's
state tells whether the gradient was bad at all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from telemetry.json_values import Json

KIND = "non_finite"  # of the event


class What(StrEnum):
    """What was the first to be not finite."""

    INPUT = "input"
    WEIGHT = "weight"
    OUTPUT = "output"
    LOSS = "loss"
    GRADIENT = "gradient"
    UPDATE = "update"
    OPTIMIZER_STATE = "optimizer_state"


class How(StrEnum):
    """How that is known."""

    OBSERVED = "observed"
    TRACED_BACK = "traced_back"
    NOT_REPRODUCED = "not_reproduced"
    NOT_OBSERVED = "not_observed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many elements of a tensor are not finite."""

    n_nan: int = 0
    n_inf: int = 0

    @property
    def is_bad(self) -> bool:
        """Whether there are any."""
        return self.n_nan + self.n_inf > 0


FINITE = Tally()


_PLACES = {
    What.INPUT: "the input of {module}",
    What.LOSS: "the loss",
    What.OUTPUT: "the output of {module}",
    What.WEIGHT: "the weight {parameter}",
    What.OPTIMIZER_STATE: "the optimizer's state of {parameter}",
    What.UPDATE: "the update of {parameter}",
    What.GRADIENT: "the gradient that passes through {module}",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The first value that was not finite.

    Attributes:
        what: Kind of the value.
        how: How that is known.
        step: Optimizer step in which it arose.
        module: Path, '' for the model itself; None where no module is concerned.
        parameter: Name; None where no single one is concerned.
        operation: Of torch, or of its derivative.
        tally: Of the value; None where it is no longer there.
        note: What else the reader should know, as the end of a sentence.
    """

    what: What
    how: How
    step: int
    module: str | None = None
    parameter: str | None = None
    operation: str | None = None
    tally: Tally | None = None
    note: str = ""

    @property
    def message(self) -> str:
        """One sentence."""
        note = f"; {self.note}" if self.note else ""
        return f"the first non-finite value appeared in step {self.step}: {self.place}{note}"

    @property
    def place(self) -> str:
        """Where it arose, in words."""
        place = _PLACES[self.what]
        if self.what is What.GRADIENT and self.parameter is not None:
            place = "the gradient of {parameter}"
        within = f" ({self.operation})" if self.operation else ""
        return place.format(module=self.module or "the model", parameter=self.parameter) + within

    def payload(self, found_step: int) -> dict[str, Json]:
        """All of it.

        Args:
            found_step: The step in which it was noticed.
        """
        payload: dict[str, Json] = {
            "what": self.what.value,
            "how": self.how.value,
            "step": self.step,
            "found_step": found_step,
            "module": self.module,
            "parameter": self.parameter,
            "operation": self.operation,
            "place": self.place,
            "note": self.note or None,
        }
        if self.tally is not None:
            payload["n_nan"] = self.tally.n_nan
            payload["n_inf"] = self.tally.n_inf
        return payload


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterFacts:
    """What a parameter tells after the optimizer has stepped.

    Attributes:
        key: Its identity.
        name: Of the parameter.
        module: Path of its module.
        weight: Its values.
        gradient: Its gradient, if that is still there.
        states: Tensors of its size in the optimizer's state.
        is_trained: It is in an optimizer and requires a gradient.
        gradient_was_finite: Its gradient was seen before the last step, and was finite.
        settings_are_finite: Learning rate and other settings of its group.
        may_divide_by_zero: Its group has an eps of zero.
        may_overflow: Its values are of 16 bits.
    """

    key: int
    name: str
    module: str
    weight: Tally
    gradient: Tally | None = None
    states: Mapping[str, Tally] = field(default_factory=dict)
    is_trained: bool = True
    gradient_was_finite: bool = False
    settings_are_finite: bool = True
    may_divide_by_zero: bool = False
    may_overflow: bool = False

    @property
    def has_bad_state(self) -> bool:
        """Whether some of its state is not finite."""
        return any(tally.is_bad for tally in self.states.values())

    @property
    def excludes_gradient(self) -> bool:
        """Whether the gradient is excluded as a cause: a bad one would show in all of the state."""
        return self.gradient_was_finite or any(not t.is_bad for t in self.states.values())


def traced_back(
    parameters: Sequence[ParameterFacts], *, step: int, last_step: int | None
) -> Origin | None:
    """What poisoned weights tell of the step before; None when all weights are finite.

    Args:
        parameters: Of the model, in the order of its forward.
        step: The step in whose forward they were used.
        last_step: The last one in which an optimizer stepped; None: none has.
    """
    poisoned = [p for p in parameters if p.weight.is_bad]
    if not poisoned:
        return None
    if last_step is None or not any(p.is_trained for p in poisoned):
        return _of(poisoned[0], What.WEIGHT, step)
    unset = [p for p in poisoned if not p.settings_are_finite]
    if unset:
        note = "a setting of its parameter group, such as the learning rate, is not finite"
        return _of(unset[0], What.UPDATE, last_step, note)
    graded = [p for p in poisoned if p.gradient is not None and p.gradient.is_bad]
    if graded:
        return _of_gradient(graded, parameters, last_step)
    excluding = [p for p in poisoned if p.excludes_gradient]
    if excluding:
        return _without_gradient(excluding, step=step, last_step=last_step)
    return _of_gradient(poisoned, parameters, last_step)


def _without_gradient(poisoned: Sequence[ParameterFacts], *, step: int, last_step: int) -> Origin:
    stated = [p for p in poisoned if p.has_bad_state]
    if stated:
        return _of(stated[0], What.OPTIMIZER_STATE, last_step, "its gradient was finite")
    first = poisoned[0]
    if first.may_divide_by_zero:
        return _of(first, What.UPDATE, last_step, "gradient and state are finite, and eps is 0")
    if first.may_overflow:
        return _of(first, What.UPDATE, last_step, "gradient and state are finite: an overflow")
    note = "gradient and optimizer state are finite: something else wrote the value"
    return _of(first, What.WEIGHT, step, note)


def by_gradients(parameters: Sequence[ParameterFacts], *, step: int, spread: bool) -> Origin | None:
    """What the gradients of a step tell that an optimizer is about to take.

    Args:
        parameters: Of the model, in the order of its forward.
        step: In progress.
        spread: Whether clipping by norm has spread what is not finite over all of them.
    """
    graded = [p for p in parameters if p.gradient is not None and p.is_trained]
    bad = [p for p in graded if p.gradient is not None and p.gradient.is_bad]
    if not bad:
        return None
    if len(bad) == len(graded) and len(bad) > 1:
        note = "its value is finite, its derivative is not"
        if spread:
            note = "clipping by norm spread it to all gradients; the model itself produces none"
        return Origin(what=What.LOSS, how=How.TRACED_BACK, step=step, note=note)
    return _of_gradient(bad, parameters, step)


def _of_gradient(
    poisoned: Sequence[ParameterFacts], parameters: Sequence[ParameterFacts], step: int
) -> Origin:
    """A bad gradient reaches everything before its origin, so its origin is where that ends."""
    last = poisoned[-1]
    trained = [p for p in parameters if p.is_trained]
    if len(poisoned) > 1 and len(poisoned) >= len(trained):
        note = "every parameter has it: it came from the loss, or clipping by norm spread it"
        return Origin(what=What.LOSS, how=How.TRACED_BACK, step=step, note=note)
    if len(poisoned) > 1 or poisoned[0] is trained[0]:
        note = "the parameters of the modules after it are finite: it arose there or right after it"
    else:
        note = "nothing before it is affected, so it came from its gradient or its optimizer state"
    return _of(last, What.GRADIENT, step, note)


def _of(parameter: ParameterFacts, what: What, step: int, note: str = "") -> Origin:
    return Origin(
        what=what,
        how=How.TRACED_BACK,
        step=step,
        module=parameter.module,
        parameter=parameter.name,
        tally=parameter.weight if what is What.WEIGHT else None,
        note=note,
    )
