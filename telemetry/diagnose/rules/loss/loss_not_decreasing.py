"""The run does not learn.

Symptom: after at least 100 steps the loss is where it began, or above.
Fix: the cause is usually another finding; without one, try to overfit a single batch: a network
that cannot is wired wrongly, one that can has a learning-rate or data problem.
Not flagged: runs whose loss does not measure progress (tags gan, rl; losses that change sign;
adversaries with optimizers or callbacks of their own); runs of which an evaluation, or a metric
that names its direction (accuracy, return), has clearly become better; a loss too noisy to exclude
a fall of 15 %; a fine-tuned model that starts and stays well below what guessing costs; steps of a
warm-up that has not reached a tenth of its peak.
Source: Zhang et al., AUTOTRAINER, ICSE 2021; the gate is `telemetry.diagnose.judgement.progress`.

A symptom: it is a root only when nothing else is found. One cause it names itself: a loss that has
as many terms as there are pairs of answers, for the shapes of answers and targets are broadcast.
"""

from dataclasses import replace

import numpy as np

from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import Finding, NotChecked, Severity
from telemetry.diagnose.judgement.gates import is_warming_up
from telemetry.diagnose.judgement.progress import State
from telemetry.diagnose.wording import guessing_score, number
from telemetry.store.rows import Rows

ID = "loss_not_decreasing"
MIN_STEPS = 100
PLAN_SHARE = 0.1
ERROR_STEPS = 300
ERROR_PLAN_SHARE = 0.2
BASELINE_SHARE = 0.98
WARM_UP_SHARE = 0.1  # of the peak learning rate: below, nothing is expected to move

MIN_SAMPLES = 3  # of a loss that compares each answer with each target

SQL = """
SELECT 'rate' AS what, s.step, MAX(s.lr) AS value
FROM steps AS s
WHERE s.run = $run
    AND s.loss IS NOT NULL
GROUP BY s.step
UNION ALL
SELECT r.site AS what, r.step, CAST(MAX(r.n) AS DOUBLE) AS value
FROM module_numbers AS r
JOIN modules AS m ON m.run = r.run AND m.module_id = r.module_id
WHERE r.run = $run
    AND r.phase = 'train'
    AND (
        (r.site = 'target' AND r.loss_op IN ('mse_loss', 'smooth_l1_loss', 'huber_loss'))
        OR (r.site = 'output' AND m.role = 'linear' AND m.depth = (
            SELECT MAX(o.depth) FROM modules AS o WHERE o.run = $run AND o.role = 'linear'
        ))
    )
GROUP BY r.site, r.step
ORDER BY what, step
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The progress gate over the steps that had a learning rate worth the name."""
    progress = context.progress
    if progress.state is State.UNKNOWN:
        return NotChecked(detector=ID, reason=progress.reason)
    if not progress.failing or not np.isfinite(progress.end):
        return None
    contrary = context.contrary
    if progress.state is State.STALLED and contrary is not None and contrary.is_measure:
        return NotChecked(detector=ID, reason=f"{contrary.words}, so the run learns")
    steps = rows.part("what", "rate")
    rates = steps.floats("value")
    if is_warming_up(rates):
        return NotChecked(detector=ID, reason="the learning rate is still warming up")
    counted = steps.ints("step")[~(rates < WARM_UP_SHARE * np.nanmax(rates, initial=0.0))]
    needed = max(limits["min_steps"], PLAN_SHARE * (context.total_steps or 0))
    if counted.size < needed:
        return NotChecked(
            detector=ID,
            reason=f"needs at least {needed:.0f} steps before a loss that does not fall means "
            f"anything; the run has {counted.size}",
        )
    found = _finding(context, first_step=int(counted[int(needed) - 1]), last_step=int(counted[-1]))
    return _with_pairs(found, _broadcast(rows))


def _with_pairs(found: Finding, n_answers: int) -> Finding:
    """The finding, which says that the loss is of all pairs where it is."""
    if not n_answers:
        return found
    return replace(
        found,
        message=f"{found.message}; the loss compares each of {n_answers} outputs with each of "
        f"{n_answers} targets",
        advice=f"Give outputs and targets the same shape: ({n_answers}, 1) and ({n_answers},) "
        "broadcast to all pairs, and the best the model can do is to predict the mean of "
        "the targets. Use out.squeeze(1) or target.unsqueeze(1).",
    )


def _broadcast(rows: Rows) -> int:
    """Answers of a batch, where the loss has as many terms as there are pairs of them; else 0."""
    terms, answers = rows.part("what", "target"), rows.part("what", "output")
    _, first, second = np.intersect1d(terms.ints("step"), answers.ints("step"), return_indices=True)
    n = answers.floats("value")[second]
    pairs = (n > 1) & (terms.floats("value")[first] == n**2)
    return int(n[-1]) if n.size >= MIN_SAMPLES and pairs.all() else 0


def _finding(context: RunContext, *, first_step: int, last_step: int) -> Finding:
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
    return Finding(
        detector=ID,
        severity=Severity.ERROR if is_error else Severity.WARNING,
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
