"""The optimizer climbs the loss.

Symptom: in four of five sampled steps the update points along the gradient of the loss, not against
it; or the backward pass starts from minus the loss that is reported or from minus a loss that
cannot be negative (cross-entropy, squared error).
Fix: remove the minus sign, or maximize=True.
Not flagged: objectives of reinforcement learning and adversaries, which are climbed on purpose;
maximize=True in a run that does not fail (information); single steps against the gradient, as
momentum and Adam take them.
Source: Humbatova et al., arXiv:1910.11015.
"""

import numpy as np

from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import Finding, NotChecked, Severity
from telemetry.diagnose.progress import State
from telemetry.diagnose.robust import BoolArray, FloatArray
from telemetry.store.rows import Rows

ID = "gradient_ascent"
CLIMB_SHARE = 0.8  # of the samples; healthy at most 0.11, climbing 1.0
MIN_SAMPLES = 10
SAME_SIZE = 0.01  # relative: the reported loss is the root but for its sign

SQL = """
SELECT
    p.step,
    SUM(p.dot_grad) AS dot,
    MAX(s.loss) AS loss,
    MAX(s.root_sum) AS root_sum,
    MAX(s.accumulation) AS accumulation
FROM tensor_points AS p
JOIN steps AS s
    ON s.run = p.run
    AND s.step = p.step
WHERE p.run = $run
    AND p.kind = 'update'
    AND p.dot_grad IS NOT NULL
GROUP BY p.step
ORDER BY p.step
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Sign of update times gradient, with the gradient turned to the loss that the user means."""
    if not context.progress.measurable and not context.baseline.negated:
        return NotChecked(detector=ID, reason=context.progress.reason)
    dots = rows.floats("dot")
    known = np.isfinite(dots) & (dots != 0)
    if int(known.sum()) < MIN_SAMPLES:
        return NotChecked(
            detector=ID, reason=f"{known.sum()} sampled updates; {MIN_SAMPLES} are needed"
        )
    turned = context.baseline.negated or _root_is_opposite(rows, context)
    climbs: BoolArray = (dots > 0) != turned
    share = float(climbs[known].mean())
    if share < limits["climb_share"]:
        return None
    return _finding(rows, context, climbs & known, share=share, turned=turned)


def _root_is_opposite(rows: Rows, context: RunContext) -> bool:
    """Backward starts from minus the reported loss, which is one of a known kind."""
    if context.baseline.naive is None:
        return False
    loss = rows.floats("loss")
    root: FloatArray = rows.floats("root_sum") / np.fmax(1.0, rows.floats("accumulation"))
    known = np.isfinite(loss) & np.isfinite(root) & (loss != 0)
    if not known.any():
        return False
    opposite = np.abs(root[known] + loss[known]) <= SAME_SIZE * np.abs(loss[known])
    return bool(opposite.mean() >= CLIMB_SHARE)


def _finding(
    rows: Rows, context: RunContext, climbs: BoolArray, *, share: float, turned: bool
) -> Finding:
    steps = rows.ints("step")[climbs]
    declared = any(optimizer.maximises for optimizer in context.optimizers)
    meant = declared and context.progress.state is not State.DIVERGED
    why = (
        "backward starts from minus the loss"
        if turned
        else "the optimizer has maximize=True"
        if declared
        else "updates point along the gradient"
    )
    return Finding(
        detector=ID,
        severity=Severity.INFO if meant else Severity.ERROR,
        message=f"the loss is climbed in {share:.0%} of {climbs.size} sampled steps (limit "
        f"{CLIMB_SHARE:.0%}): {why}",
        advice="Remove the minus sign before the loss, or maximize=True of the optimizer; if the "
        "objective is meant to rise, report it under another name than loss.",
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=share,
        threshold=CLIMB_SHARE,
        unit="share",
        evidence={
            "n_samples": int(climbs.size),
            "state": context.progress.state,
            "query": (
                "select step, sum(dot_grad) as gradient_times_update from tensor_points "
                "where kind = 'update' and dot_grad is not null group by step order by step"
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the optimizer climbs the loss",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(Need.UPDATE, Need.LOSS),
    sql=SQL,
    parameters={"climb_share": CLIMB_SHARE},
    advice="Remove the minus sign before the loss, or maximize=True.",
    source="arXiv:1910.11015",
    judge=judge,
    shown=Shown(
        normal="A step goes down: gradient times update is negative in nearly every sample "
        "(positive, where backward starts from minus the loss that is meant).",
    ),
)
