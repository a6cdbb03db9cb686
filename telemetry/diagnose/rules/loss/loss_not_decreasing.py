"""The run does not learn.

Symptom: after at least 100 steps the loss is where it began, or above.
Fix: the cause is usually another finding; without one, try to overfit a single batch: a network
that cannot is wired wrongly, one that can has a learning-rate or data problem.
Not flagged: runs whose loss does not measure progress (tags gan, rl; losses that change sign;
adversaries with optimizers or callbacks of their own); runs of which an evaluation, or a metric
that names its direction (accuracy, return), has clearly become better; a loss too noisy to exclude
a fall of 15 %; a fine-tuned model that starts and stays well below the loss of random guessing;
steps of a warm-up that has not reached a tenth of its peak.
Source: Zhang et al., AUTOTRAINER, ICSE 2021; the gate is `telemetry.diagnose.judgement.progress`.

A symptom: it is a root only when nothing else is found.
"""

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import is_warming_up
from telemetry.diagnose.judgement.harm import Harm
from telemetry.diagnose.judgement.progress import State
from telemetry.diagnose.judgement.severity import Size, statistical
from telemetry.diagnose.wording import guessing_score, number
from telemetry.store.sessions.rows import Rows

ID = "loss_not_decreasing"
MIN_STEPS = 100
PLAN_SHARE = 0.1
ERROR_STEPS = 300
ERROR_PLAN_SHARE = 0.2
BASELINE_SHARE = 0.98
WARM_UP_SHARE = 0.1  # of the peak learning rate: below, nothing is expected to move

SQL = """
SELECT
    s.step,
    MAX(s.lr) AS rate
FROM steps AS s
WHERE s.run = $run
    AND s.loss IS NOT NULL
GROUP BY s.step
ORDER BY s.step
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The progress gate over the steps that had a learning rate worth the name."""
    progress = context.progress
    if progress.state is State.UNKNOWN:
        return NotChecked(detector=ID, reason=progress.reason)
    if context.harm is Harm.NONE or not progress.failing or not np.isfinite(progress.end):
        return None
    contrary = context.contrary
    if progress.state is State.STALLED and contrary is not None and contrary.is_measure:
        return NotChecked(detector=ID, reason=f"{contrary.words}, so the run learns")
    rates = rows.floats("rate")
    if is_warming_up(rates):
        return NotChecked(detector=ID, reason="the learning rate is still warming up")
    counted = rows.ints("step")[~(rates < WARM_UP_SHARE * np.nanmax(rates, initial=0.0))]
    needed = max(limits["min_steps"], PLAN_SHARE * (context.total_steps or 0))
    if counted.size < needed:
        return NotChecked(
            detector=ID,
            reason=f"needs at least {needed:.0f} steps before a loss that does not fall means "
            f"anything; the run has {counted.size}",
        )
    return _finding(context, first_step=int(counted[int(needed) - 1]), last_step=int(counted[-1]))


def _finding(context: RunContext, *, first_step: int, last_step: int) -> Candidate:
    progress, levels = context.progress, context.baseline
    level = levels.constant or levels.naive
    guessing = level is not None and progress.end >= BASELINE_SHARE * level
    seen = max(ERROR_STEPS, ERROR_PLAN_SHARE * (context.total_steps or 0))
    is_error = guessing and context.losses.size >= seen
    if progress.state is State.DIVERGED and progress.end > progress.start:
        what = f"loss rose from {number(progress.start)} to {number(progress.end)}"
    else:
        what = f"loss {number(progress.end)} after {context.losses.size} steps, "
        what += f"{number(progress.start)} at the start"
    if guessing and level is not None:
        what += f"; {guessing_score(levels)}"
    return Candidate(
        strength=statistical(Size.TOTAL if is_error else Size.CLEAR),
        message=what,
        advice="Try to overfit one batch: if that fails, suspect the labels, the loss or a "
        "detached graph; if it works, change the learning rate by a factor of 10 in "
        "either direction.",
        first_step=first_step,
        last_step=last_step,
        value=progress.end,
        threshold=level if level is not None else progress.start,
        unit="loss",
        evidence={
            "state": progress.state,
            "z": progress.z,
            "fall_share": progress.r,
            "noise": progress.noise,
            "query": "select step, loss, lr from steps order by step",
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the run does not learn",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={"min_steps": MIN_STEPS},
    advice="Look for the cause among the other findings; otherwise try to overfit one batch.",
    source="Zhang et al., AUTOTRAINER, ICSE 2021",
    judge=judge,
    causes=("loss_plateau", "class_collapse"),
    is_symptom=True,
    explains_symptoms=False,
    shown=Shown(
        unit="loss",
        normal="After a hundred steps the loss is below its start and below random guessing, by "
        "more than its noise.",
    ),
)
