"""What in the rows of `steps` says that a training is in vain.

A loss or norm is not finite, or no optimizer uses the gradients.

Owned by the writer thread. Reads no clock: the time is an argument.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from telemetry.capture.writer.publisher import FLUSH_INTERVAL_S
from telemetry.format.step_flags import StepFlag
from telemetry.json_values import Json

LOSS = "loss"
NORM = "grad_norm_total"
CALLS = "calls_without_step"
MOVED = "weights_moved"
# What is said of each column, and the reason that an event names.
SUBJECTS = {
    LOSS: ("the loss at step {step} is {value}", "non_finite_loss"),
    NORM: ("the gradient norm at step {step} is {value}", "non_finite_norm"),
    CALLS: ("no optimizer has stepped in {value:.0f} calls of step()", "no_optimizer_step"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """The first value of a column of `steps` that should not be."""

    column: str
    step: int
    value: float

    @property
    def message(self) -> str:
        """For people."""
        said, _ = SUBJECTS[self.column]
        what = said.format(step=self.step, value=self.value)
        return f"{what}: everything recorded so far was written immediately"

    def payload(self) -> dict[str, Json]:
        """As the details of an event."""
        _, reason = SUBJECTS[self.column]
        return {"reason": reason, "step": self.step, self.column: self.value}


class Alarms:
    """Finds them; a training may go on for days with a NaN, so one counts in a flush interval.

    Attributes:
        first_bad_loss: The first step whose loss is not finite; None: none so far.
        n_raised: Alarms that counted.
    """

    def __init__(self) -> None:
        self.first_bad_loss: int | None = None
        self.n_raised = 0
        self._seen: Alarm | None = None
        self._has_idled = False
        self._due_s = -float("inf")

    def watch(self, rows: pa.Table) -> None:
        """Look at rows of `steps`."""
        if self._seen is None:
            self._seen = _first_not_finite(rows, LOSS)
            if self._seen is not None and self.first_bad_loss is None:
                self.first_bad_loss = self._seen.step
        if self._seen is None:
            # A loss scaler that refuses a step has seen to it.
            taken = (rows["flags"].to_numpy() & StepFlag.SKIPPED) == 0
            self._seen = _first_not_finite(rows.filter(pa.array(taken)), NORM)
        if self._seen is None and not self._has_idled:
            self._seen = _first_idle(rows)
            self._has_idled = self._seen is not None

    def take(self, now_s: float) -> Alarm | None:
        """What was seen since the last call, if it counts."""
        seen, self._seen = self._seen, None
        if seen is None or now_s < self._due_s:
            return None
        self._due_s = now_s + FLUSH_INTERVAL_S
        self.n_raised += 1
        return seen


def _first_not_finite(rows: pa.Table, column: str) -> Alarm | None:
    known = rows.filter(rows[column].is_valid())
    values = known[column].to_numpy()
    for index in np.flatnonzero(~np.isfinite(values))[:1]:
        step, value = int(known["step"][index].as_py()), float(values[index])
        return Alarm(column=column, step=step, value=value)
    return None


def _first_idle(rows: pa.Table) -> Alarm | None:
    """Calls without a step of an optimizer, after which weights are what they were."""
    if not {CALLS, MOVED} <= set(rows.column_names):
        return None
    calls, moved = rows[CALLS].to_numpy(), rows[MOVED].to_numpy()
    for index in np.flatnonzero(np.isfinite(calls) & (moved == 0))[:1]:
        return Alarm(column=CALLS, step=int(rows["step"][index].as_py()), value=float(calls[index]))
    return None
