"""Learning has stopped: the loss has been flat for half of the run or more.

Symptom: after it had fallen, the loss shows no trend over at least half of the steps, and its noise
is small enough to exclude a fall of three percent; the learning rate is still near its peak and no
validation metric improves meanwhile.
Fix: decay the learning rate, because noise as large as a step keeps the loss up; if that does not
help, stop: the model, the data or the loss sets this level.
Not flagged: a shorter plateau, one under a rate that a schedule has brought down (the end of a
cosine is flat by design), one during which validation still improves (as before late
generalisation), or at a loss near zero: these are reported with --detector loss_plateau. A loss
that never fell is loss_not_decreasing. Never more than information.
Source: Power et al., arXiv:2201.02177; Smith et al., arXiv:1711.00489.
"""

import numpy as np

from telemetry.diagnose.candidate import Candidate, Description
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.evaluations import EVALUATIONS_SQL, evaluated
from telemetry.diagnose.judgement.progress import SIGNED
from telemetry.diagnose.judgement.robust import (
    MEDIAN_INEFFICIENCY,
    FloatArray,
    median,
    step_noise,
    trend,
)
from telemetry.diagnose.judgement.severity import Size, measured
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

ID = "loss_plateau"
PLATEAU_SHARE = 0.5  # of the run, to be told unasked
LEAST_SHARE = 1 / 3  # of the run, to be called a plateau
SHARES = np.arange(0.95, LEAST_SHARE, -0.05)  # of the run, the longest first
MIN_LOSSES = 60
MIN_STEPS = 200  # of a plateau to be told unasked: a shorter one may be a pause
TREND_Z = 2.0
NO_FALL = 0.005  # of the level: a long run makes any trend significant
FALL_LIMIT = 0.03  # of the level, between its halves: what the noise must exclude
RATE_SHARE = 0.5  # of the peak: the rate has not been decayed


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The longest end of the run without a trend."""
    losses, progress = context.losses, context.progress
    if not progress.measurable:
        return NotChecked(detector=ID, reason=progress.reason or SIGNED)
    if not progress.improving or losses.size < MIN_LOSSES or not np.isfinite(losses).all():
        return None
    first = _start(losses, limits["fall_limit"])
    if first is None:
        return None
    improves = _validation_improves(rows, int(context.loss_steps[first]))
    finding = _finding(context, first, improves=improves, limit=limits["plateau_share"])
    length = losses.size - first
    long = length >= max(MIN_STEPS, limits["plateau_share"] * losses.size)
    acts = long and context.stuck and not improves and _rate_share(context) >= RATE_SHARE
    return finding if acts else Description(candidate=finding)


def _start(losses: FloatArray, fall_limit: float) -> int | None:
    """Place from which on the loss is flat; None where it is not flat at the end."""
    for share in SHARES:
        first = losses.size - int(share * losses.size)
        if _is_flat(losses[first:], fall_limit):
            return first
    return None


def _is_flat(losses: FloatArray, fall_limit: float) -> bool:
    """No trend that counts, and no fall between its halves that the noise might hide."""
    half = losses.size // 2
    before = median(losses[:half])
    drop = before - median(losses[half:])
    error = MEDIAN_INEFFICIENCY * step_noise(losses) * float(np.sqrt(2 / half))
    if abs(drop) + 2 * error >= fall_limit * before:
        return False
    return abs(drop) < NO_FALL * before or abs(trend(losses)[1]) < TREND_Z


def _validation_improves(rows: Rows, step: int) -> bool:
    """Some validation metric still gets better from that step on."""
    return any(
        trend(series.values[series.steps >= step])[1] <= -TREND_Z for series in evaluated(rows)
    )


def _rate_share(context: RunContext) -> float:
    """Learning rate at the end over its peak; 1 where it is not known."""
    rates = context.steps.lr[np.isfinite(context.steps.lr)]
    return float(rates[-1] / rates.max()) if rates.size and rates.max() > 0 else 1.0


def _finding(context: RunContext, first: int, *, improves: bool, limit: float) -> Candidate:
    length = int(context.losses.size - first)
    step, last = int(context.loss_steps[first]), int(context.loss_steps[-1])
    level = median(context.losses[first:])
    rate, share = context.lr_at(last), _rate_share(context)
    of_rate = f" ({number(rate)})" if np.isfinite(rate) else ""
    if improves:
        advice = "Keep training: validation still improves."
    elif share < RATE_SHARE:
        advice = f"The learning rate has come down to {share:.0%} of its peak: stop here."
    else:
        advice = (
            f"Divide the learning rate{of_rate} by 10; if the loss does not fall within "
            f"{max(MIN_STEPS, length // 10)} steps, stop."
        )
    return Candidate(
        strength=measured(Size.SLIGHT),
        message=f"the loss has stayed at {number(level)} since step {step}, for "
        f"{length / context.losses.size:.0%} of the run",
        advice=advice,
        first_step=step,
        last_step=last,
        value=length / context.losses.size,
        threshold=limit,
        unit="share",
        evidence={
            "level": level,
            "lr": rate if np.isfinite(rate) else None,
            "lr_share_of_peak": share,
            "validation_improves": improves,
            "query": example("steps", "step, loss, lr"),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="learning has stopped: the loss is flat",
    tier=Tier.INFO,
    severity=Severity.INFO,
    needs=(Need.LOSS,),
    sql=EVALUATIONS_SQL,
    parameters={"plateau_share": PLATEAU_SHARE, "fall_limit": FALL_LIMIT},
    advice="Lower the learning rate; if the loss still does not fall, stop.",
    source="arXiv:2201.02177, arXiv:1711.00489",
    judge=judge,
    explains_symptoms=False,
    shown=Shown(
        normal="The loss keeps falling, or the learning rate has been lowered where it does not.",
    ),
)
