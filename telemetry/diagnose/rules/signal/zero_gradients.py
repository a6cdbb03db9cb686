"""Every gradient is exactly zero: nothing can be learned.

Symptom: from the first sampled step to the last one the gradients of all parameters, or of all
weight matrices, are there and exactly zero, while the loss is not; or they become so before the
loss has come down.
Fix: look at what backward() starts from: a loss that is multiplied by zero, clamped or rounded, a
softmax over one unit, which is always one, a ReLU as the last layer, or gradients that are cleared
between backward() and the optimizer's step.
Not flagged: steps whose loss is zero, as a hinge loss that is satisfied by all samples; a run that
came down to a fiftieth of the loss of knowing nothing first; gradients of None, which are those of
layers that are not used; the first sample of a residual network that starts at zero; steps that a
loss scaler skips; single layers without a gradient.
Source: Humbatova et al., arXiv:1910.11015.

Numbers that are exactly zero have no noise: two samples are enough.
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import NOTHING_LEFT_SHARE, Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import is_left_behind, run_length
from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray
from telemetry.diagnose.judgement.severity import Size, exact
from telemetry.diagnose.wording import and_more, example, number
from telemetry.store.sessions.rows import Rows

ID = "zero_gradients"
MIN_SAMPLES = 2  # the first step of what starts at zero has such gradients
LATER_SAMPLES = 5  # where gradients were there before: a few batches may have nothing to learn

SQL = """
SELECT
    p.step,
    p.param_id,
    -- Squares may underflow: all elements that were read must be zero, too.
    CASE WHEN p.sumsq = 0 AND p.n_zero = p.n_sampled THEN 1 ELSE 0 END AS is_zero,
    s.root_share
FROM tensor_points AS p
JOIN tensors AS t ON t.run = p.run AND t.tensor_id = p.param_id
JOIN (
    SELECT r.step, MAX(r.flags) AS flags, MAX(ABS(r.root_sum / NULLIF(r.loss, 0))) AS root_share
    FROM steps AS r
    WHERE r.run = $run
    GROUP BY r.step
) AS s ON s.step = p.step
WHERE p.run = $run
    AND p.kind = 'gradient'
    AND p.n_sampled > 0
    AND t.lr_group IS NOT NULL
    AND MOD(s.flags, 4) < 2
ORDER BY p.step, p.param_id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """One entry per sampled step with a gradient.

    Attributes:
        zero: Every gradient that was there is exactly zero.
        root_share: What backward() started from over the reported loss; NaN where not known.
    """

    steps: IntArray
    zero: BoolArray
    root_share: FloatArray


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """All parameters first, then the weight matrices alone."""
    matrices = [matrix.id for matrix in context.network.matrices]
    is_matrix = np.isin(rows.ints("param_id"), np.array(matrices, dtype=np.int64))
    everything = _seen(rows, np.ones(is_matrix.size, dtype=np.bool_))
    if everything.steps.size < limits["min_samples"]:
        return NotChecked(
            detector=ID,
            reason=f"{everything.steps.size} samples of gradients; at least "
            f"{limits['min_samples']:.0f} are needed",
        )
    found = _found(everything, context, limits)
    if found is not None:
        return _candidate(everything, found, context, limits, of_all=True)
    of_matrices = _seen(rows, is_matrix)
    found = _found(of_matrices, context, limits)
    if found is not None:
        return _candidate(of_matrices, found, context, limits, of_all=False)
    if is_left_behind(int(everything.steps[-1]), context.last_step):
        return NotChecked(
            detector=ID,
            reason=f"gradients were recorded until step {everything.steps[-1]}, the run went on "
            f"to step {context.last_step}",
        )
    return None


def _seen(rows: Rows, kept: BoolArray) -> _Seen:
    steps, starts = np.unique(rows.ints("step")[kept], return_index=True)
    zero = rows.ints("is_zero")[kept] > 0
    if not steps.size:
        return _Seen(steps=steps, zero=zero, root_share=np.zeros(0))
    return _Seen(
        steps=steps,
        zero=np.logical_and.reduceat(zero, starts),
        root_share=rows.floats("root_share")[kept][starts],
    )


def _found(seen: _Seen, context: RunContext, limits: Limits) -> int | None:
    """Place of the first of the samples up to the last that are zero; None where all is well."""
    length = run_length(seen.zero)
    first = seen.steps.size - length
    if length < (LATER_SAMPLES if first else limits["min_samples"]):
        return None
    left = _loss(seen, first, context)
    if np.isnan(left):
        return None if first else 0
    level = context.baseline.naive or context.first_loss
    nothing = NOTHING_LEFT_SHARE * abs(level) if first else 0.0
    return first if abs(left) > nothing else None


def _loss(seen: _Seen, first: int, context: RunContext) -> float:
    """Mean loss of these samples; NaN where none was recorded.

    Where single samples are answered perfectly or not at all, the median is one of the former.
    """
    losses = context.losses[np.isin(context.loss_steps, seen.steps[first:])]
    finite = losses[np.isfinite(losses)]
    return float(finite.mean()) if finite.size else float("nan")


def _candidate(
    seen: _Seen, first: int, context: RunContext, limits: Limits, *, of_all: bool
) -> Candidate:
    n = seen.steps.size - first
    since = f" since step {seen.steps[first]}" if first else ""
    what = "every parameter" if of_all else "every weight matrix"
    is_void = bool((seen.root_share[first:] == 0).all())
    why = ": backward() starts from a loss that is multiplied by zero" if is_void else ""
    loss = _loss(seen, first, context)
    but = "" if np.isnan(loss) else f", while the loss is {number(loss)}"
    own = context.network.matrices or context.network.parameters
    return Candidate(
        # What has learned before is not lost, but no step after that is worth its time.
        strength=exact(Size.CLEAR if first and context.progress.improving else Size.TOTAL),
        message=f"the gradient of {what} is exactly zero{since}, in the last {n} of "
        f"{seen.steps.size} samples{but}{why}",
        advice="Look for the factor of zero between the loss and backward()."
        if is_void
        else "Look at what lies between the outputs and backward(): a loss that is clamped, "
        "rounded or detached from what it measures, a softmax over one unit, a ReLU as the last "
        "layer, gradients that are cleared before optimizer.step()."
        if of_all
        else f"Look at the inputs of the layers, from {and_more([p.layer for p in own[-1:]])} "
        "back: something multiplies by zero, or no unit answers.",
        layers=tuple(dict.fromkeys(parameter.layer for parameter in own))[:10],
        first_step=int(seen.steps[first]),
        last_step=int(seen.steps[-1]),
        value=float(n),
        threshold=LATER_SAMPLES if first else limits["min_samples"],
        unit="samples",
        evidence={
            "n_samples": int(seen.steps.size),
            "state": context.progress.state,
            "query": example(
                "layers", "step, layer, parameter, grad_norm", where="grad_norm is not null"
            ),
        },
    )


DETECTOR = Detector(
    id=ID,
    title="every gradient is exactly zero",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(Need.GRADIENT,),
    sql=SQL,
    parameters={"min_samples": MIN_SAMPLES},
    advice="Look at what backward() starts from, and at what cuts the outputs off from it.",
    source="arXiv:1910.11015",
    judge=judge,
    caused_by=(
        "output_head",
        "target_mismatch",
        "dead_units",
        "saturated_units",
        "unchanged_parameters",
        "no_optimizer_step",
        "softmax_into_cross_entropy",
        "learning_rate_too_high",
        "poor_initialization",
        "input_scale",
        "loss_scaler",
    ),
    causes=(
        "vanishing_gradient",
        "epsilon_domination",
    ),
    shown=Shown(
        unit="gradient",
        low_is_worse=True,
        normal="Every parameter of the optimizer gets a gradient that is not zero.",
    ),
)
