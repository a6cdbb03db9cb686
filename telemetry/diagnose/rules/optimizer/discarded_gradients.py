"""Gradients are cleared between the backward passes of a step: only the last one counts.

Symptom: between two optimizer steps there are three backward passes or more from losses of one
kind, gradients are cleared before each, and what the optimizer sees is as large as after the first.
Fix: clear the gradients once per optimizer step: move `zero_grad()` out of the loop over
micro-batches, to before its first backward pass or after the optimizer's step.
Not flagged: passes whose gradients add up; several optimizers; two passes, as those of
sharpness-aware minimisation. Information where the run learns: the batch is a k-th of what was
meant, and the step too if the loss is divided by k.
Source: huggingface/transformers, "Fixing gradient accumulation" (2024).
"""

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import persistence
from telemetry.diagnose.judgement.robust import median
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import example
from telemetry.store.sessions.rows import Rows

ID = "discarded_gradients"
LEAST_PASSES = 3
GROWTH_LIMIT = 1.5  # of the squared norm: k passes that add up give k to k^2, those cleared 1

SQL = """
SELECT
    s.step,
    MAX(s.accumulation) AS k,
    MAX(s.grad_norm_total * s.grad_norm_total / NULLIF(s.micro_grad_sumsq, 0)) AS growth
FROM steps AS s
WHERE s.run = $run
    AND MOD(s.flags, 2) = 1
    AND s.accumulation = s.backward_calls
    AND s.accumulation >= $least_passes
    AND s.optimizer_steps = 1
    AND s.root_factor_sum IS NULL
    AND s.micro_grad_sumsq IS NOT NULL
GROUP BY s.step
ORDER BY s.step
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Whether the gradient of a step is that of its last backward pass alone."""
    if not len(rows) or len(context.optimizers) > 1:
        return NotChecked(
            detector=ID,
            reason="no step of one optimizer has several backward passes between which gradients "
            "were cleared",
            absent=True,
        )
    steps, growth = rows.ints("step"), rows.floats("growth")
    held = persistence(steps, growth < limits["growth_limit"])
    if held is None:
        return None
    k = median(rows.floats("k")[held.where])
    return Candidate(
        strength=exact(Size.SLIGHT),
        message=f"gradients are cleared before each of {k:.0f} backward passes of a step: those of "
        f"{k - 1:.0f} are thrown away",
        advice="Call zero_grad() once per optimizer step, outside of the loop over micro-batches.",
        first_step=held.first_step,
        earliest=0,
        last_step=held.last_step,
        value=median(growth[held.where]),
        threshold=limits["growth_limit"],
        unit="× first pass",
        evidence={
            "passes": k,
            "state": context.progress.state,
            "query": example("steps", "step, grad_norm_total, micro_grad_sumsq, backward_calls"),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="gradients of all but the last micro-batch are thrown away",
    tier=Tier.INVARIANT,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={"least_passes": LEAST_PASSES, "growth_limit": GROWTH_LIMIT},
    advice="Call zero_grad() once per optimizer step.",
    source="huggingface/transformers",
    judge=judge,
    causes=("learning_rate_too_low", "loss_not_decreasing", "loss_plateau"),
    shown=Shown(
        unit="× first pass",
        low_is_worse=True,
        normal="Gradients of the micro-batches of a step add up.",
    ),
)
