"""The gradient is that of k times the loss, or of a k-th of it: micro-batches are not averaged.

Symptom: k backward passes between two steps start from losses that no constant divides, and
together they are k times the loss that is reported (the gradient is k times too large); or each is
divided by k twice (k times too small). Or every backward pass starts from the same tiny share of
the reported loss, a ten-thousandth or less, and steps are nothing for it, or below epsilon.
Fix: (loss / k).backward() once, with k the micro-batches of a step; remove a factor that makes the
loss vanish.
Not flagged: a loop that divides, whatever it reports, the loss before or after; sums divided by a
number of tokens or samples; losses reported as a sum; passes of different losses; passes between
which gradients are cleared or of which later ones do not add up (sharpness-aware minimisation,
L-BFGS); several optimizers. A description only where the size of the gradient does not count (Adam
and its kin, clipping that is always active) or where the run does not fail: the rate may have been
chosen with it. A tiny share of the reported loss whose steps are as large as usual: it may be
reported as a sum.
Source: arXiv:2506.14813; huggingface/transformers, "Fixing gradient accumulation" (2024).
"""

import re
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.analyses.scaled_loss import scaled_away
from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import PERSISTENT_K, persistence
from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray, median
from telemetry.diagnose.judgement.severity import Size, exact, measured, statistical
from telemetry.diagnose.wording import example, number
from telemetry.store.sessions.rows import Rows

ID = "loss_multiplier"
UNDIVIDED_SHARE = 0.75  # of k: 1 where nothing is divided, at most 1 / k <= 0.5 where it is
VANISHED_SHARE = 1e-4  # of the reported loss: fewer micro-batches divide by less
TWICE_RANGE = 1.5  # factor around 1 / k; dividing once lies k >= 2 away from it
EVALUATES_AGAIN = re.compile(r"lbfgs|sam$|^sam", re.IGNORECASE)  # one batch, several passes

SQL = """
SELECT
    'several' AS what,
    s.step,
    NULL AS "update",
    NULL AS gradient,
    MAX(s.accumulation) AS k,
    MAX(s.root_sum / NULLIF(s.loss, 0)) AS multiple,
    MAX(s.root_factor_sum) AS factor_sum,
    MAX(s.grad_norm_total * s.grad_norm_total / NULLIF(s.micro_grad_sumsq, 0)) AS growth,
    MAX(s.clip_coefficient) AS clip_coefficient
FROM steps AS s
WHERE s.run = $run
    AND MOD(s.flags, 2) = 1
    AND s.accumulation >= 2
    AND s.accumulation = s.backward_calls
    AND s.root_factor_sum IS NOT NULL
GROUP BY s.step
UNION ALL
SELECT
    'any' AS what,
    s.step,
    MAX(l."update") AS "update",
    MAX(l.gradient) AS gradient,
    NULL AS k,
    MAX(s.root_sum / NULLIF(s.loss, 0)) AS multiple,
    NULL AS factor_sum, NULL AS growth, NULL AS clip_coefficient
FROM steps AS s
LEFT JOIN (
    SELECT m.step, MAX(m.update_ratio) AS "update",
        SQRT(SUM(m.grad_norm_seen * m.grad_norm_seen) / SUM(t.n)) AS gradient
    FROM layers AS m
    JOIN tensors AS t ON t.run = m.run AND t.tensor_id = m.param_id AND t.shape LIKE '%,%'
    WHERE m.run = $run
    GROUP BY m.step
) AS l ON l.step = s.step
WHERE s.run = $run AND MOD(s.flags, 2) = 1
GROUP BY s.step
ORDER BY 1, 2
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    """One entry per sampled step that accumulates.

    `multiple` is the sum of the roots over the reported loss, `factor` the sum of the constants
    they were multiplied with, `growth` the squared norm of the whole gradient over that of the
    first pass (about k to k^2 where passes add up).
    """

    k: FloatArray
    multiple: FloatArray
    factor: FloatArray
    growth: FloatArray

    def undivided(self, share: float) -> BoolArray:
        grows = ~np.isfinite(self.growth) | (self.growth >= share * self.k)
        return (self.multiple >= share * self.k) & (self.factor >= share * self.k) & grows

    def twice(self, width: float) -> BoolArray:
        return _near(self.multiple * self.k, width) & _near(self.factor * self.k, width)


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """A loss that vanishes first, then what the graph divides by, against what is reported."""
    gone = scaled_away(rows.part("what", "any"), context, limit=limits["vanished_share"])
    return gone or _of_several(rows.part("what", "several"), context, limits)


def _of_several(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    if not len(rows.ints("step")):
        return NotChecked(
            detector=ID,
            reason="no sampled step has several backward passes of one loss and a reported "
            "loss; in a loop that accumulates gradients, call telemetry.step(loss=loss)",
            absent=True,
        )
    if len(context.optimizers) > 1:
        return NotChecked(
            detector=ID, reason="the run has several optimizers, which may have their own losses"
        )
    again = [o.name for o in context.optimizers if EVALUATES_AGAIN.search(o.name)]
    if again:
        return NotChecked(detector=ID, reason=f"{again[0]} evaluates each batch several times")
    steps = rows.ints("step")
    if steps.size < PERSISTENT_K:
        return NotChecked(
            detector=ID,
            reason=(
                f"{steps.size} sampled steps that accumulate gradients; at least {PERSISTENT_K} "
                "are needed"
            ),
        )
    seen = _Steps(
        k=rows.floats("k"),
        multiple=rows.floats("multiple"),
        factor=rows.floats("factor_sum"),
        growth=rows.floats("growth"),
    )
    kinds = (
        (seen.undivided(limits["undivided_share"]), False),
        (seen.twice(limits["twice_range"]), True),
    )
    for condition, twice in kinds:
        held = persistence(steps, condition)
        if held is not None:
            threshold = limits["twice_range"] if twice else limits["undivided_share"]
            return _finding(rows, context, held.where, twice=twice, threshold=threshold)
    return None


def _near(values: FloatArray, width: float) -> BoolArray:
    return (values >= 1 / width) & (values <= width)


def _finding(
    rows: Rows, context: RunContext, where: IntArray, *, twice: bool, threshold: float
) -> Candidate:
    steps = rows.ints("step")[where]
    k = round(median(rows.floats("k")[where]))
    multiple = median(rows.floats("multiple")[where])
    clip = median(rows.floats("clip_coefficient")[where])
    free = context.is_adaptive or clip < 1 / k
    strength = measured(Size.SLIGHT) if free else statistical()  # the sum may be meant
    if twice:
        strength = exact()
    if twice:
        message = f"each of a step's {k} losses is divided by {k} twice: the gradient is "
        message += f"{number(multiple)} of that of the reported loss"
    else:
        message = f"the {k} losses of a step are not divided by {k}: the gradient is "
        message += f"{number(multiple)} times that of the reported loss"
    return Candidate(
        strength=strength,
        message=message,
        advice=f"Divide once: (loss / {k}).backward(); if you want the sum, choose the learning "
        "rate for it.",
        first_step=int(steps[0]),
        last_step=int(steps[-1]),
        value=multiple,
        threshold=threshold / k if twice else threshold * k,
        unit="times the reported loss",
        evidence={
            "micro_batches": k,
            "size_counts": not free,
            "state": context.progress.state,
            "query": example(
                "steps",
                "step, root_sum / nullif(loss, 0) as root_over_loss, accumulation, loss, root_sum, "
                "root_factor_sum",
                where="root_sum is not null",
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="the gradient is that of another multiple of the loss",
    tier=Tier.INVARIANT,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={
        "undivided_share": UNDIVIDED_SHARE,
        "twice_range": TWICE_RANGE,
        "vanished_share": VANISHED_SHARE,
    },
    advice="Call (loss / k).backward() for k micro-batches, and divide only once.",
    source="arXiv:2506.14813",
    judge=judge,
    causes=(
        "learning_rate_too_high",
        "learning_rate_too_low",
        "clip_saturation",
        "epsilon_domination",
        "unchanged_parameters",
        "vanishing_gradient",
    ),
    acts_by=(Mechanism.GROWTH,),
    shown=Shown(
        normal="The losses that the backward passes of one step start from add up to the "
        "reported loss: the ratio is near 1.",
    ),
)
