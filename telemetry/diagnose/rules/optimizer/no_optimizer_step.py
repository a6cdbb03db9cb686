"""Gradients are computed and no optimizer uses them.

Symptom: in 16 calls of `step()` in a row, each after a backward pass, no optimizer has stepped, or
all that have stepped had no gradients; and a few weights are what they were. Or no backward pass of
16 steps in a row has left a gradient in the model: its loss was made from a number again.
Fix: call `optimizer.step()` after the backward pass, and `zero_grad()` before it, not between the
two; where the optimizer steps, build it from the parameters of the model that is trained.
Not flagged: accumulation over micro-batches: where gradients are not cleared between their passes,
64 calls are waited for in a loop of which no step is known, else 20, and twice as many as a step of
it has taken; steps that a loss scaler refuses; optimizers that the callback was not given;
weights that the loop updates itself; one of several optimizers that rests; evaluations.
Source: Humbatova et al., arXiv:1910.11015.
"""

import itertools
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.robust import FloatArray
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example
from telemetry.format.unused_calls import CLEARED_CALLS
from telemetry.store.sessions.rows import Rows

ID = "no_optimizer_step"

_UNKNOWN = (
    "the recording says of no step whether an optimizer stepped or a weight moved: an older "
    "version made it; record again"
)
_OTHERS = "optimizer_steps, empty_optimizer_steps, weights_moved"
_PASSED = f"step, backward_calls, {_OTHERS}"
_COUNTED = f"step, calls_without_step, backward_calls, {_OTHERS}"

# A healthy run has no step in which no optimizer had a gradient to use.
SQL = """
SELECT
    s.step,
    MAX(s.empty_optimizer_steps) AS n_empty,
    MAX(s.backward_calls) AS n_passes,
    MAX(s.calls_without_step) AS n_calls,
    MAX(s.weights_moved) AS moved
FROM steps AS s
WHERE s.run = $run
GROUP BY s.step
HAVING MAX(s.optimizer_steps) IS NULL
ORDER BY s.step
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Idle:
    """The longest stretch of steps in which no optimizer used a gradient.

    Attributes:
        first: Its first step.
        last: Its last step.
        n_calls: Of `step()` in it; backward passes, where those are more in a run that has ended.
        is_counted: Whether capture has counted calls.
        n_passes: Backward passes in it.
        n_empty: Steps of optimizers without gradients in it.
        reaches: A backward pass in it may have left gradients.
        begins: It is the beginning of the run.
        ends: It is the end of what is recorded.
    """

    first: int
    last: int
    n_calls: int
    is_counted: bool
    n_passes: int
    n_empty: int
    reaches: bool
    begins: bool
    ends: bool


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The longest stretch of enough calls without a step, in which no weight has changed."""
    if not context.n_steps:
        return NotChecked(detector=ID, reason="no step was recorded")
    steps = rows.ints("step")
    edges = [0, *(np.flatnonzero(np.diff(steps) > 1) + 1).tolist(), steps.size]
    stretches = [
        _stretch(rows, pair, context, limits["calls_limit"])
        for pair in itertools.pairwise(edges)
        if steps.size
    ]
    idle = [stretch for stretch in stretches if stretch is not None]
    found = max(idle, key=lambda stretch: stretch.n_calls, default=None)
    if found is None:
        unknown = steps.size == context.n_steps and not _is_recorded(rows)
        return NotChecked(detector=ID, reason=_UNKNOWN) if unknown else None
    return Candidate(
        strength=exact(Size.TOTAL),
        message=_message(found, context.network.n_foreign),
        advice=_advice(found),
        first_step=found.first,
        last_step=found.last,
        value=float(found.n_calls),
        threshold=limits["calls_limit"],
        unit="calls",
        evidence={
            "n_backward_passes": found.n_passes,
            "n_steps_without_gradient": found.n_empty,
            "query": example("steps", _COUNTED if found.is_counted else _PASSED),
        },
    )


def _is_recorded(rows: Rows) -> bool:
    """Whether the recording says of any step what this rule reads; older ones do not."""
    return any(np.isfinite(rows.floats(name)).any() for name in ("n_calls", "moved", "n_empty"))


def _stretch(rows: Rows, edges: tuple[int, int], context: RunContext, limit: float) -> _Idle | None:
    where = slice(*edges)
    steps, recorded = rows.ints("step")[where], context.steps.step
    calls = rows.floats("n_calls")[where]
    moved = rows.floats("moved")[where]
    n_passes = _total(rows.floats("n_passes")[where])
    begins, ends = int(steps[0]) == int(recorded[0]), int(steps[-1]) == int(recorded[-1])
    is_counted = bool(np.isfinite(calls).any())
    n_calls = int(np.nanmax(calls)) if is_counted else 0
    if begins and ends and context.finished:  # it has accumulated for no step that was to come
        n_calls = max(n_calls, n_passes)
    known = moved[np.isfinite(moved)]
    # Nobody looks at weights where no pass has left a gradient: each step says that it had none.
    reaches = is_counted or bool(known.size)
    if not reaches:
        has_none = (rows.floats("n_empty")[where] > 0) & (rows.floats("n_passes")[where] > 0)
        n_calls = int(has_none.sum()) if has_none.all() else 0
    if n_calls < limit or (reaches and (not known.size or known.any())):
        return None
    return _Idle(
        first=int(steps[0]),
        last=int(steps[-1]),
        n_calls=n_calls,
        is_counted=is_counted,
        n_passes=n_passes,
        n_empty=_total(rows.floats("n_empty")[where]),
        reaches=reaches,
        begins=begins,
        ends=ends,
    )


def _total(numbers: FloatArray) -> int:
    return int(np.nansum(numbers))


def _message(idle: _Idle, n_foreign: int) -> str:
    passes = f"backward ran {idle.n_passes} times"
    if not idle.reaches:
        since = "" if idle.begins else f" since step {idle.first}"
        return (
            f"no gradient has reached the model{since}, while {passes}: nothing leads from the "
            "tensor that it starts from to the weights"
        )
    if idle.n_empty:
        since = "" if idle.begins else f" since step {idle.first}"
        return f"`optimizer.step()` has had no gradient to use{since}, while {passes}: " + (
            f"it has {n_foreign} tensors that do not belong to the model"
            if n_foreign
            else "they are cleared before it"
        )
    if not idle.ends:
        return (
            f"`optimizer.step()` did not run from step {idle.first} to step {idle.last}, while "
            f"{passes}"
        )
    since = "has never run" if idle.begins else f"has not run since step {idle.first}"
    return f"`optimizer.step()` {since}, while {passes}"


def _advice(idle: _Idle) -> str:
    if not idle.reaches:
        return (
            "Call backward() on the loss that was computed from the model's output: not on a new "
            "tensor (torch.tensor(loss.item()), .data, .detach(), numpy), nor on that of another "
            "model."
        )
    if idle.n_empty:
        return (
            "Call optimizer.zero_grad() before backward() and not after it; build the optimizer "
            "from the parameters of the model that is trained, after it was copied or moved."
        )
    return (
        "Call optimizer.step() after each backward(); look for a condition or a `continue` that "
        "skips it. Where gradients are accumulated, call the callback's step() after it."
    )


DETECTOR = Detector(
    id=ID,
    title="no optimizer uses the gradients",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(),
    sql=SQL,
    parameters={"calls_limit": CLEARED_CALLS},
    advice="Call optimizer.step() after backward(), with gradients that are not cleared before.",
    source="arXiv:1910.11015",
    judge=judge,
    causes=("unchanged_parameters", "loss_not_decreasing"),
    shown=Shown(
        unit="calls",
        normal="Each call of step() comes after a step of an optimizer, or every k-th where "
        "gradients are accumulated.",
    ),
)
