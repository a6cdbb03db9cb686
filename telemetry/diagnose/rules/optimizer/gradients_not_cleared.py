"""Gradients that a step has used are added to those of the next one.

Symptom: when the first backward pass after a step begins, gradients that the step used are still
there, unchanged, and no later one before the next step finds them cleared. The sum of all
gradients so far acts like a momentum of one: at first it may even help, later it overshoots.
Fix: optimizer.zero_grad() once per step, before its first backward pass.
Not flagged: accumulation over micro-batches (there is no step between their backward passes);
gradients cleared to zero, set to None by hand or replaced; a generator's backward pass over a
discriminator that clears before its own; gradients scaled on purpose between steps (traces).
Never softened by progress: such a run may be ahead of its twin for a hundred steps.
Source: Humbatova et al., arXiv:1910.11015; arXiv:2506.14813.
"""

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import (
    PERSISTENT_K,
    is_left_behind,
    persistence,
    run_length,
)
from telemetry.diagnose.judgement.robust import BoolArray, IntArray
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example
from telemetry.store.sessions.rows import Rows

ID = "gradients_not_cleared"
SHARE_LIMIT = 0.1  # of at most eight probes: below one of them; a correct loop has none

SQL = """
SELECT
    s.step,
    MAX(s.stale_grad_share) AS share
FROM steps AS s
WHERE s.run = $run
    AND s.stale_grad_share IS NOT NULL
GROUP BY s.step
ORDER BY s.step
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Used gradients that stay, in three of five comparisons and half of those after."""
    steps, shares = rows.ints("step"), rows.floats("share")
    if steps.size < PERSISTENT_K:
        return NotChecked(
            detector=ID,
            reason=f"used gradients were compared with those of the next step {steps.size} "
            f"times; at least {PERSISTENT_K} comparisons are needed: pass the optimizer "
            "and sample more often (every=)",
        )
    held = persistence(steps, shares >= limits["share_limit"])
    if held is None:
        reason = _lacks(steps, shares >= limits["share_limit"], context)
        return None if reason is None else NotChecked(detector=ID, reason=reason)
    share = float(np.median(shares[held.where]))
    some = "" if share == 1 else f"{share:.0%} of the examined "
    return Candidate(
        strength=exact(Size.TOTAL),
        message=f"{some}gradients are not cleared after their step: in {held.where.size} of "
        f"{steps.size} comparisons they were still there, so they are added to the next "
        "step's gradients",
        advice="Call optimizer.zero_grad() once per optimizer step, before its first backward "
        "pass"
        + (
            "."
            if share == 1
            else ", for all parameters of the optimizer, not only those of one module."
        ),
        first_step=held.first_step,
        last_step=held.last_step,
        value=share,
        threshold=limits["share_limit"],
        unit="share",
        evidence={
            "n_comparisons": int(steps.size),
            "n_stale": int(held.where.size),
            "query": example(
                "steps",
                "step, stale_grad_share, grad_norm_total",
                where="stale_grad_share is not null",
            ),
        },
    )


def _lacks(steps: IntArray, stale: BoolArray, context: RunContext) -> str | None:
    """What would have to be known for the rule to pass."""
    n_last = run_length(stale)
    if n_last:
        return (
            f"used gradients were still there in the last {n_last} of {steps.size} comparisons, "
            f"from step {steps[-n_last]} on; {PERSISTENT_K} are needed"
        )
    if is_left_behind(int(steps[-1]), context.last_step):
        return (
            f"used gradients were compared until step {steps[-1]}, the run went on to step "
            f"{context.last_step}"
        )
    return None


DETECTOR = Detector(
    id=ID,
    title="gradients are not cleared between steps",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(),
    sql=SQL,
    parameters={"share_limit": SHARE_LIMIT},
    advice="Call optimizer.zero_grad() once per step.",
    source="arXiv:1910.11015, arXiv:2506.14813",
    judge=judge,
    causes=(
        "exploding_gradient",
        "learning_rate_too_high",
        "weight_norm_growth",
        "gradient_oscillation",
        "clip_saturation",
    ),
    acts_by=(Mechanism.GROWTH,),
    shares=("share_limit",),
    shown=Shown(
        unit="share",
        normal="At the first backward pass of a step, no gradient of the previous step is left.",
    ),
)
