"""A GradScaler is misused, or finds no scale at which gradients are finite.

Symptom: (1) gradients are clipped while the loss scale is still in them, so the limit is thousands
of times stricter than it says; (2) every step is refused, and the scale falls below one; (3) one
step in ten is refused after the first have found a scale; (4) the scale stays below one, where
small gradients underflow in float16; (5) a scaler is used with bfloat16, which needs none.
Fix: scaler.unscale_(optimizer) before clipping; bfloat16 instead of float16; repair the layer whose
gradient overflows.
Not flagged: refused steps at the start, from a scale that is too large by design; single ones
later, one per growth interval; clipping that changes nothing; (3) and (4) are descriptions in a
run that learns, (5) always. Underflow inside float16 layers is not looked for.
Source: Micikevicius et al., arXiv:1710.03740; torch.amp examples, "gradient clipping".
"""

import functools

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import persistence
from telemetry.diagnose.judgement.robust import BoolArray, median
from telemetry.diagnose.judgement.severity import Size, exact, measured, statistical
from telemetry.diagnose.step_finding import step_finding
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

ID = "loss_scaler"
STUCK_STEPS = 20  # refused without a break up to the last one: 2^16 is halved to below one in 17
REFUSED_SHARE = 0.1  # by design one step in a growth interval, 2,000 unless it is set
REFUSED_EXTREME = 0.5
REFUSED_WINDOW = 200
MIN_REFUSED = 10  # of a window that a short run does not fill
MIN_WINDOW = 50
NO_CLIPPING = 0.999

SQL = """
SELECT
    s.step,
    MAX(s.loss_scale) AS scale,
    MAX(CASE WHEN MOD(s.flags, 4) >= 2 THEN 1 ELSE 0 END) AS is_refused,
    MAX(CASE WHEN MOD(s.flags, 8) >= 4 THEN 1 ELSE 0 END) AS is_early,
    MAX(s.clip_coefficient) AS clip_coefficient,
    MAX(h.n_float16) AS n_float16,
    MAX(h.n_bfloat16) AS n_bfloat16
FROM steps AS s
CROSS JOIN (
    SELECT
        COUNT(CASE WHEN r.dtype = 'float16' THEN 1 END) AS n_float16,
        COUNT(CASE WHEN r.dtype = 'bfloat16' THEN 1 END) AS n_bfloat16
    FROM module_numbers AS r
    WHERE r.run = $run
        AND r.site = 'output'
        AND r.phase = 'train'
) AS h
WHERE s.run = $run
    AND s.loss_scale IS NOT NULL
GROUP BY s.step
ORDER BY s.step
"""

_finding = functools.partial(
    step_finding,
    counted="n_steps",
    query=example("steps", "step, loss_scale, flags, clip_coefficient"),
)


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The surest of what is wrong: the order of clipping, then refused steps, then the scale."""
    if not rows.ints("step").size:
        return NotChecked(
            detector=ID,
            reason="no enabled GradScaler stepped an optimizer in this run",
            absent=True,
        )
    return (
        _clipped_early(rows, context)
        or _stuck(rows, limits)
        or _often_refused(rows, context, limits)
        or _too_small(rows, n_steps=int(limits["stuck_steps"]))
        or _not_needed(rows)
    )


def _clipped_early(rows: Rows, context: RunContext) -> Candidate | None:
    steps = rows.ints("step")
    held = persistence(steps, rows.ints("is_early") > 0)
    if held is None:
        return None
    clip = median(rows.floats("clip_coefficient")[held.where])
    scale = median(rows.floats("scale")[held.where])
    if clip >= NO_CLIPPING or scale <= 1:
        return None
    # Adam divides the gradient by its own size, unless it falls below eps.
    size = Size.CLEAR if context.is_adaptive else Size.TOTAL
    return _finding(
        steps[held.where],
        strength=exact(size),
        message="gradients are clipped before they are unscaled: a loss scale of "
        f"{number(scale)} makes the limit that many times stricter",
        advice="Call scaler.unscale_(optimizer) before clip_grad_norm_ or clip_grad_value_.",
        value=scale,
        threshold=1.0,
        unit="loss scale",
    )


def _stuck(rows: Rows, limits: Limits) -> Candidate | None:
    refused = rows.ints("is_refused") > 0
    n_last = _run_length(refused[::-1])
    scale = float(rows.floats("scale")[-1])
    if n_last < limits["stuck_steps"] or not scale < 1:
        return None
    return _finding(
        rows.ints("step")[-n_last:],
        strength=exact(Size.TOTAL),
        message=f"the scaler skipped all of the last {n_last} steps, down to a loss scale of "
        f"{number(scale)}: the gradient is not finite at any of these scales",
        advice="Run one step under torch.autograd.set_detect_anomaly(True): it names the operation "
        "whose gradient is not finite. Guard its division, root or logarithm, scale its inputs, or "
        "use bfloat16.",
        value=float(n_last),
        threshold=limits["stuck_steps"],
        unit="steps",
    )


def _often_refused(rows: Rows, context: RunContext, limits: Limits) -> Candidate | None:
    steps, refused = rows.ints("step"), rows.ints("is_refused") > 0
    start = max(_run_length(refused), int(np.searchsorted(steps, context.warm_in)))
    steps, refused = steps[start:], refused[start:]
    width = min(REFUSED_WINDOW, steps.size)
    if width < MIN_WINDOW:
        return None
    counts = np.convolve(refused, np.ones(width), mode="valid")
    worst = int(np.argmax(counts))
    share = float(counts[worst] / width)
    if share <= limits["refused_share"] or counts[worst] < MIN_REFUSED:
        return None
    inside = slice(worst, worst + width)
    return _finding(
        steps[inside][refused[inside]],
        strength=statistical(Size.FAR if share >= REFUSED_EXTREME else Size.CLEAR),
        message=f"the scaler skipped {share:.0%} of {width} steps (limit "
        f"{limits['refused_share']:.0%}): it finds no stable scale",
        advice="Use bfloat16, or find what overflows; a growth_interval below a few hundred "
        "steps causes many skipped steps by itself.",
        value=share,
        threshold=limits["refused_share"],
        unit="share",
    )


def _too_small(rows: Rows, *, n_steps: int) -> Candidate | None:
    steps, scales = rows.ints("step"), rows.floats("scale")
    if not scales[0] >= 1:  # as it was set
        return None
    held = persistence(steps, scales < 1, k=n_steps, n=n_steps)
    if held is None:
        return None
    scale = median(scales[held.where])
    return _finding(
        steps[held.where],
        strength=statistical(),
        message=f"the loss scale fell to {number(scale)}: below 1, small gradients are lost in "
        "float16",
        advice="Use bfloat16, divide the loss by its number of elements, or scale the targets.",
        value=scale,
        threshold=1.0,
        unit="loss scale",
    )


def _not_needed(rows: Rows) -> Candidate | None:
    steps = rows.ints("step")
    if rows.ints("n_float16")[0] or not rows.ints("n_bfloat16")[0]:
        return None
    return _finding(
        steps,
        strength=measured(Size.SLIGHT),
        message="the loss is scaled although layers compute in bfloat16, which has float32's range",
        advice="Remove the GradScaler.",
        value=median(rows.floats("scale")),
        threshold=1.0,
        unit="loss scale",
    )


def _run_length(values: BoolArray) -> int:
    """How many are true before the first that is not."""
    return int(values.size if values.all() else np.argmin(values))


DETECTOR = Detector(
    id=ID,
    title="the loss scaler is misused or finds no stable scale",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={"stuck_steps": STUCK_STEPS, "refused_share": REFUSED_SHARE},
    advice="Unscale before clipping, use bfloat16, or fix what overflows.",
    source="arXiv:1710.03740",
    judge=judge,
    # What refuses the update makes a step small at any rate.
    causes=("learning_rate_too_low", "loss_not_decreasing"),
    shown=Shown(
        unit="loss scale",
        low_is_worse=True,
        normal="The scale settles in the first steps; afterwards one step in some hundreds is "
        "skipped.",
    ),
)
