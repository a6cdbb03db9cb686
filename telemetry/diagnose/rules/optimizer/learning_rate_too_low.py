"""Steps are so small that the run could not have learned, whatever else is right.

Symptom: even at its largest rate no step moves any weight matrix by more than 2^-11 of its norm,
and all steps of the run together ask for a tenth of the loss at most, while the loss stays where it
began. Of a loss with negative values it is a tenth of the noise of one step.
Fix: multiply the learning rate by the power of two that the finding prints; where clipping makes
the steps small, raise its norm.
Not flagged: runs that learn, have converged, or whose loss does not measure progress; a rate that
is still warming up in a run that goes on or is short; steps at a rate that has decayed, which are
scaled up to the largest; runs in which one matrix takes usual steps (a head over a frozen body,
rates by layer, adapters); runs whose steps would ask for more over 100 steps, or over the plan;
weights that do not move at all, which is not caused by the rate.
Information: a slow fall of the loss; one too noisy to measure, unless steps are four times smaller
still; fine-tuning, which starts far below the loss of knowing nothing and wants small steps.
Source: Smith, arXiv:1506.01186; Humbatova et al., arXiv:1910.11015.

What the steps ask for is the sum of -<update, gradient>: to first order the fall of the loss, and
for a convex loss no less than the fall. It is in the unit of the loss, so neither the scale of the
weights, nor a normalisation after them, nor the optimizer matters.
"""

import math
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.causes import cause_graph
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import (
    PERSISTENT_K,
    SMALL_STEP,
    Persistence,
    is_warming_up,
    persistence,
)
from telemetry.diagnose.judgement.progress import SIGNAL_LIMIT, SIGNED, State
from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray, median
from telemetry.diagnose.judgement.severity import Size, measured
from telemetry.diagnose.tags import Tag
from telemetry.diagnose.wording import MATRICES, example, number
from telemetry.store.sessions.rows import Rows

ID = "learning_rate_too_low"
ASKED_LIMIT = 0.1  # of the loss, by all steps; too small 1e-5 to 0.09, random labels 0.14
NOISY_FACTOR = 0.25  # of the limit, where the loss is too noisy to agree
STAYS = 1.05  # times the start: a loss that has not risen, however high it began ...
RISE_LIMIT = 2.0  # ... nor when its rise is less than so many standard errors
SLOW_FALL = 0.1  # of the loss: a run that fell by more is on its way
MIN_STEPS = 100  # as for a loss that does not fall: what so many would ask for counts
LEAST_RATE = 0.01  # of the largest: below, a step is not scaled up to that
TUNING_SHARE = 0.7  # of the loss of knowing nothing: a run that starts below has been trained
USUAL_STEP = 2.0**-10
LARGE_STEP = 2.0**-7
LARGE_WEIGHTS = 64.0  # times the usual: larger ones are seldom drawn
CLIPPED = 0.25  # of the gradient is left: then clipping makes the steps small

SQL = """
SELECT
    l.step,
    l.param_id,
    MAX(l.update_ratio) AS update_ratio,
    MAX(
        u.dot_grad * u.n / NULLIF(u.n_sampled, 0)
        * COALESCE(l.grad_norm / NULLIF(l.grad_norm_seen, 0), 1)
    ) AS dot_grad,
    MAX(s.clip_coefficient) AS clip_coefficient
FROM layers AS l
JOIN tensor_points AS u
    ON u.run = l.run
    AND u.step = l.step
    AND u.param_id = l.param_id
    AND u.kind = 'update'
JOIN steps AS s
    ON s.run = l.run
    AND s.step = l.step
WHERE l.run = $run
    AND l.update_ratio IS NOT NULL
    AND MOD(s.flags, 4) < 2
GROUP BY l.step, l.param_id
ORDER BY l.step, l.param_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Samples:
    """Sampled steps.

    Attributes:
        steps: Shape (n_samples,).
        rated: Whether the rate was a hundredth of its largest or more at each.
        largest: Largest update ratio of any matrix at each, as it were at the largest rate.
        asked: Fall of the loss that each asks for; NaN where it is not known.
        clip: What clipping left of the gradient at each; NaN where it did not clip.
    """

    steps: IntArray
    rated: BoolArray
    largest: FloatArray
    asked: FloatArray
    clip: FloatArray


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Size of the largest steps, what they ask of the loss, and whether the loss fell."""
    samples = _samples(rows, context)
    asked = _asked_share(samples, context)
    missing = _missing(samples, asked, context)
    if missing:
        return NotChecked(detector=ID, reason=missing)
    held = _small(samples, context, limits)
    if held is None:
        return None
    value = median(samples.largest[samples.rated][held.where])
    size = _size(value, asked, context, limits)
    if size is None:
        return None
    return Candidate(
        strength=measured(size),
        message=f"no step moves a weight matrix by more than {number(value)} of its norm (limit "
        f"{number(limits['step_limit'])}); {_counted(context)} together can "
        f"lower the loss of {number(context.progress.start)} by about "
        f"{number(100 * max(0.0, asked))} "
        f"%{' of its noise' if _is_signed(context) else ''}",
        advice=_advice(value, asked, context, clip=median(samples.clip)),
        first_step=held.first_step,
        last_step=held.last_step,
        value=value,
        threshold=limits["step_limit"],
        unit="update/weight",
        rules_out=_ruled_out(value, context, limits),
        evidence={
            "asked_share": asked,
            "fall_share": context.progress.r,
            "state": context.progress.state,
            "query": example("layers", "step, layer, parameter, update_ratio", where=MATRICES),
        },
    )


def _missing(samples: _Samples, asked: float, context: RunContext) -> str:
    """Why the run cannot be judged; empty where it can."""
    n_rated = int(samples.rated.sum())
    if not context.progress.measurable and context.progress.reason != SIGNED:
        return context.progress.reason
    still_planned = not context.finished or context.n_steps < MIN_STEPS
    if still_planned and is_warming_up(context.steps.lr):
        return "the learning rate is still warming up"
    if n_rated < PERSISTENT_K:
        return (
            f"needs at least {PERSISTENT_K} samples at a hundredth of the largest learning rate "
            f"or more; the run has {n_rated} of them"
        )
    if math.isnan(asked):
        return "no gradient was recorded, so it is not known how much the steps can lower the loss"
    return ""


def _small(samples: _Samples, context: RunContext, limits: Limits) -> Persistence | None:
    """Where every matrix takes small steps; positions among the rated samples."""
    steps, largest = samples.steps[samples.rated], samples.largest[samples.rated]
    # Where sampling ceased early the first steps must do: there a rate that is right does most.
    late = int((steps >= context.warm_in).sum()) >= PERSISTENT_K
    return persistence(
        steps,
        (largest > 0) & (largest <= limits["step_limit"]),
        start=context.warm_in if late else 0,
    )


def _samples(rows: Rows, context: RunContext) -> _Samples:
    """Steps are read of matrices, embeddings and adapters: a vector's norm may begin at zero."""
    wide = [p.id for p in context.network.parameters if p.is_matrix or p.n > p.rows > 1]
    step = rows.ints("step")
    is_wide = np.isin(rows.ints("param_id"), np.array(wide, dtype=np.int64))
    steps, place = np.unique(step, return_inverse=True)
    largest = np.full(steps.size, -np.inf)
    np.maximum.at(largest, place[is_wide], rows.floats("update_ratio")[is_wide])
    dots = rows.floats("dot_grad")
    is_known = np.isfinite(dots)
    asked = -np.bincount(place[is_known], dots[is_known], minlength=steps.size)
    n_known = np.bincount(place[is_known], minlength=steps.size)
    clip = np.full(steps.size, np.nan)
    clip[place] = rows.floats("clip_coefficient")
    rates = context.steps.lr[np.searchsorted(context.steps.step, steps)]
    share = rates / np.nanmax(context.steps.lr, initial=0.0)
    return _Samples(
        steps=steps,
        rated=~(share < LEAST_RATE) & np.isfinite(largest),
        # A step grows with the rate, whatever the optimizer.
        largest=largest / np.where(share > 0, share, 1.0),
        asked=np.where(n_known > 0, asked, np.nan),
        clip=clip,
    )


def _asked_share(samples: _Samples, context: RunContext) -> float:
    """Share of the first loss that all steps, or those of the plan if it is longer, ask for.

    Of a loss with negative values, which has no level, it is the share of one step's noise: a run
    that learns falls by that at least. Each sample stands for the steps up to the next: they are
    dense at first, and sparse later. A run of fewer steps than any loss takes to fall is judged by
    what so many would ask for.
    """
    known = np.isfinite(samples.asked)
    level = context.progress.noise if _is_signed(context) else abs(context.progress.start)
    if not known.any() or not level > 0:
        return float("nan")
    ends = np.append(samples.steps[known], context.steps.step[-1] + 1)
    asked = float(samples.asked[known] @ np.diff(ends))
    still_planned = max(context.n_steps, context.total_steps or 0, MIN_STEPS)
    return asked * still_planned / context.n_steps / level


def _counted(context: RunContext) -> str:
    """The steps that what they ask for is said of."""
    planned = max(context.total_steps or 0, MIN_STEPS)
    return f"{planned} such steps" if planned > context.n_steps else f"all {context.n_steps} steps"


def _is_signed(context: RunContext) -> bool:
    return context.progress.reason == SIGNED


def _stays(context: RunContext) -> bool:
    """The loss has neither fallen nor risen; one with negative values has no level for shares."""
    progress = context.progress
    if _is_signed(context):
        return abs(progress.z) < SIGNAL_LIMIT and progress.rise < RISE_LIMIT
    rose = progress.end > STAYS * progress.start and progress.rise >= RISE_LIMIT
    return progress.r <= SLOW_FALL and not rose


def _size(value: float, asked: float, context: RunContext, limits: Limits) -> Size | None:
    progress = context.progress
    moves = not _stays(context) or asked > limits["asked_limit"]
    if moves or progress.state is State.CONVERGED:
        return None
    level = context.baseline.constant or context.baseline.naive
    trained = level is not None and progress.start <= TUNING_SHARE * level
    if trained or Tag.FINE_TUNE in context.tags or progress.improving:
        return Size.SLIGHT
    noisy = progress.state is State.UNKNOWN
    known = level is not None or _is_signed(context)
    unsure = noisy and not (known and value <= NOISY_FACTOR * limits["step_limit"])
    return Size.SLIGHT if unsure else Size.CLEAR


def _ruled_out(value: float, context: RunContext, limits: Limits) -> frozenset[str]:
    """What makes gradients small makes no step of an adaptive optimizer so small.

    Weights that start far too large make the same step a smaller part of them.
    """
    tiny = value <= limits["step_limit"] / LARGE_WEIGHTS
    small = tiny and context.is_adaptive
    return cause_graph().acting_by(Mechanism.SMALL_GRADIENTS) if small else frozenset()


def _advice(value: float, asked: float, context: RunContext, *, clip: float) -> str:
    power = _doublings(value, asked)
    if clip < CLIPPED and not context.is_adaptive:
        return (
            f"Raise max_norm of the clipping: it leaves only {number(clip)} of the gradient, "
            f"and steps should be {2**power} times larger."
        )
    rate = float(np.nanmax(context.steps.lr, initial=0.0))
    target = f", from {number(rate)} to {number(rate * 2**power)}" if rate > 0 else ""
    return (
        f"Multiply the learning rate by {2**power} (2^{power}{target}): a step then moves a "
        f"matrix by {number(value * 2**power)} of its norm. Keep doubling as long as the loss "
        "falls faster."
    )


def _doublings(value: float, asked: float) -> int:
    """Doublings to a usual step, or until the steps ask for half of the loss if that takes more."""
    usual = math.log2(USUAL_STEP / value)
    enough = math.log2(0.5 / asked) if asked > 0 else usual
    most = math.floor(math.log2(LARGE_STEP / value))
    return max(1, min(most, math.ceil(max(usual, enough))))


DETECTOR = Detector(
    id=ID,
    title="steps are too small to learn anything",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS, Need.UPDATE),
    sql=SQL,
    parameters={"step_limit": SMALL_STEP, "asked_limit": ASKED_LIMIT},
    advice="Multiply the learning rate by a power of two until the loss falls.",
    source="arXiv:1506.01186, arXiv:1910.11015",
    judge=judge,
    # A network that is hardly moved keeps the short reach it starts with.
    causes=("vanishing_through_time", "loss_not_decreasing"),
    softened_by=(Tag.FINE_TUNE,),
    shown=Shown(
        unit="update/weight",
        low_is_worse=True,
        normal="A step changes a weight matrix by about a thousandth of its norm.",
    ),
)
