"""A NaN or an infinity reached the loss, a parameter, or a gradient that was applied.

Symptom: from some step on, values that are not finite; the parameters that hold them never recover.
Fix: by origin: add an epsilon or a clamp to log, division, square root and power; bf16 or a loss
scaler for fp16; guard softmax rows that are masked as a whole; check the batch.
Not flagged: infinities of activations alone (attention masks) while the loss is finite; overflows
of a step that the loss scaler skipped.
Source: Zhang et al., arXiv:2103.03376; Wortsman et al., arXiv:2304.09871.

The recording follows the first bad value to where it arose (event `non_finite`). Else the origin is
the first layer in forward order whose output is not finite at the first bad sample; when all
outputs are finite, the layer nearest the head whose gradient is not. What was not sampled
at the bad step is named at the next sample, and the message says so.

A batch that is not finite has no other cause. Steps that are too large show before they end in a
NaN: where neither the loss nor the gradient had grown, they are ruled out as the cause.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.causes import cause_graph
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.evidence.followed_origin import FollowedOrigin
from telemetry.diagnose.finding import Severity
from telemetry.diagnose.judgement.robust import median
from telemetry.diagnose.judgement.severity import Size, Strength, exact
from telemetry.diagnose.wording import example
from telemetry.json_values import Json
from telemetry.store.sessions.rows import Rows, as_float, as_text

ID = "non_finite"
GROWTH_SAMPLES = 5
QUIET_STEPS = 10  # finite ones before, to tell whether anything grew
QUIET_LOSS = 2.0  # the last finite losses over the median before: no step was too large
QUIET_RATE = 2.0  # the learning rate over its median in those steps
QUIET_GRADIENT = 8.0  # gradient norms of healthy runs vary by less within a few steps

SQL = """
SELECT
    p.kind AS what,
    t.name,
    t.module AS layer,
    MIN(p.step) AS first_step,
    MAX(p.step) AS last_step
FROM tensor_points AS p
JOIN tensors AS t
    ON t.run = p.run
    AND t.tensor_id = p.param_id
WHERE p.run = $run
    AND p.kind IN ('weight', 'gradient', 'update')
    AND p.n_nan + p.n_inf > 0
GROUP BY p.kind, t.name, t.module
UNION ALL
SELECT
    'output' AS what,
    a.site AS name,
    a.layer,
    MIN(a.step) AS first_step,
    MAX(a.step) AS last_step
FROM activations AS a
WHERE a.run = $run
    AND a.nonfinite > 0
    AND a.phase = 'train'
    AND a.site IN ('output', 'input')
GROUP BY a.site, a.layer
UNION ALL
SELECT
    'event' AS what,
    e.payload AS name,
    '' AS layer,
    MIN(e.step) AS first_step,
    MAX(e.step) AS last_step
FROM events AS e
WHERE e.run = $run
    AND e.kind = 'non_finite'
GROUP BY e.payload
ORDER BY first_step, what, name, layer
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bad:
    """Where one thing was first not finite."""

    what: str
    name: str
    layer: str
    first_step: int
    last_step: int


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Loss and parameters first; gradients alone are a warning."""
    del limits
    bad = [
        _Bad(
            what=as_text(record["what"]),
            name=as_text(record["name"]),
            layer=as_text(record["layer"]),
            first_step=int(as_float(record["first_step"])),
            last_step=int(as_float(record["last_step"])),
        )
        for record in rows.records()
        if as_text(record["what"]) != "event"
    ]
    followed = FollowedOrigin.first(
        [as_text(record["name"]) for record in rows.records() if as_text(record["what"]) == "event"]
    )
    skipped = set(context.steps.step[context.steps.skipped].tolist())
    losses = [
        int(step)
        for step in context.loss_steps[~np.isfinite(context.losses)]
        if int(step) not in skipped
    ]
    parameters = [b for b in bad if b.what in {"weight", "update"}]
    gradients = [b for b in bad if b.what == "gradient" and b.last_step not in skipped]
    if not (losses or parameters or gradients or followed):
        return None
    starts = [*losses[:1], *(b.first_step for b in (*parameters, *gradients))]
    if followed is not None:
        starts = [followed.step]
    lasting = bool(losses) and not np.isfinite(context.losses[-1])
    applied = followed is not None and followed.is_applied
    is_error = bool(parameters) or lasting or len(losses) > 1 or applied
    return _finding(
        context,
        bad,
        losses=losses,
        strength=exact(Size.TOTAL if is_error else Size.CLEAR),
        first_step=min(starts),
        followed=followed,
    )


def _finding(
    context: RunContext,
    bad: Sequence[_Bad],
    *,
    losses: Sequence[int],
    strength: Strength,
    first_step: int,
    followed: FollowedOrigin | None,
) -> Candidate:
    origin = _origin(context, bad, first_step)
    layers = tuple(dict.fromkeys(b.layer for b in bad if b.what != "output"))
    if followed is None:
        message = _sampled_message(origin, _what(losses, bad, first_step), first_step)
        layer, advice = (None if origin is None else origin.layer or None), _advice(origin)
    else:
        message, layer, advice = followed.message, followed.layer, followed.advice
    last = max([first_step, *losses[-1:], *(b.last_step for b in bad)])
    evidence: dict[str, Json] = {
        "n_losses": len(losses),
        "n_tensors": len({b.name for b in bad if b.what != "output"}),
        "grad_norms_before": _norms_before(context, first_step),
        "query": example("layers", "step, layer, parameter, nonfinite, grad_norm, weight_norm")
        if layers
        else example("steps", "step, loss, grad_norm_total"),
    }
    if followed is not None:
        evidence["origin"] = followed.payload
    return Candidate(
        strength=strength,
        message=message,
        advice=advice,
        layer=layer,
        layers=layers,
        first_step=first_step,
        last_step=last,
        value=float(max(1, len(losses) + len(layers))),
        threshold=0.0,
        unit="non-finite values",
        evidence=evidence,
        rules_out=_ruled_out(context, origin, first_step, followed),
    )


def _ruled_out(
    context: RunContext, origin: _Bad | None, step: int, followed: FollowedOrigin | None
) -> frozenset[str]:
    """Causes that the evidence excludes."""
    at_input = (
        followed.what == "input" and followed.layer is None
        if followed is not None
        else origin is not None and origin.name == "input" and not origin.layer
    )
    if at_input:
        return cause_graph().ancestors(ID)
    sudden = _is_sudden(context, step)
    return cause_graph().acting_by(Mechanism.GROWTH) if sudden else frozenset()


def _is_sudden(context: RunContext, step: int) -> bool:
    """The loss was below its start; neither it, the gradient nor the rate had grown before."""
    losses = context.losses[context.loss_steps < step]
    series = context.steps
    norms = series.grad_norm_total[series.step < step]
    norms = norms[~np.isnan(norms)]
    if losses.size < QUIET_STEPS or not np.isfinite(losses).all():
        return False
    # A running run may not have told its last steps yet.
    if series.step[-1] < step:
        return False
    rates = series.lr[series.step <= step][-QUIET_STEPS:]
    if np.nanmax(rates, initial=0.0) > QUIET_RATE * median(rates):
        return False  # a step may be so long that it leaves nothing to see
    usual = min(np.median(losses[-QUIET_STEPS:]), context.loss_reference)
    quiet = losses[-2:].max() <= QUIET_LOSS * usual
    if norms.size >= QUIET_STEPS:
        quiet &= bool(norms[-2:].max() <= QUIET_GRADIENT * np.median(norms[-QUIET_STEPS:]))
    return bool(quiet)


def _sampled_message(origin: _Bad | None, what: str, first_step: int) -> str:
    where = "" if origin is None else f", first seen in {_place(origin)}"
    late = (
        ""
        if origin is None or origin.first_step == first_step
        else f" at step {origin.first_step}, the first sample after it"
    )
    return f"{what} at step {first_step}{where}{late}"


def _what(losses: Sequence[int], bad: Sequence[_Bad], first_step: int) -> str:
    if losses and losses[0] == first_step:
        return "the loss is not finite"
    kinds = {b.what for b in bad if b.first_step == first_step}
    if "weight" in kinds:
        return "parameters are not finite"
    return "the update is not finite" if kinds == {"update"} else "gradients are not finite"


def _origin(context: RunContext, bad: Sequence[_Bad], first_step: int) -> _Bad | None:
    """The first bad thing in forward order, else the gradient nearest the head."""
    seen = sorted({b.first_step for b in bad if b.first_step >= first_step})
    if not seen:
        return None
    first = [b for b in bad if b.first_step == seen[0]]
    outputs = [b for b in first if b.what == "output"]
    # What contains a bad output is bad because of it.
    outputs = [
        b
        for b in outputs
        if b.name == "input" or not any(_is_inside(o.layer, b.layer) for o in outputs)
    ]
    weights = [b for b in first if b.what == "weight"]
    if outputs and not weights:
        return min(outputs, key=lambda b: (b.name != "input", context.network.depth_of(b.layer)))
    gradients = [b for b in first if b.what == "gradient"]
    if gradients and not weights:
        return max(gradients, key=lambda b: (context.network.depth_of(b.layer), b.name))
    return min(first, key=lambda b: (context.network.depth_of(b.layer), b.name))


def _is_inside(inner: str, outer: str) -> bool:
    return inner != outer and (not outer or inner.startswith(f"{outer}."))


def _place(origin: _Bad) -> str:
    layer = origin.layer or "the model"
    if origin.what == "output":
        return f"the {origin.name} of {layer}"
    return f"the {origin.what} of {origin.name}"


def _advice(origin: _Bad | None) -> str:
    if origin is not None and origin.what == "output" and origin.name == "input":
        return "The batch itself is not finite: check the data, not the model."
    if origin is not None and origin.what == "output":
        return (
            f"Look at {origin.layer or 'the model'}: add an epsilon or a clamp to its log, "
            "division, square root or power; use bf16 if it overflows in fp16."
        )
    if origin is not None and origin.what == "gradient":
        return (
            "Every output was finite, but a derivative was not: look for sqrt(0), 0/0 or log(0) "
            "between this layer and the loss."
        )
    return (
        "Look at what the loss divides by or takes the logarithm of, lower the learning rate, and "
        "clip the gradient norm."
    )


def _norms_before(context: RunContext, step: int) -> list[Json]:
    series = context.steps
    known = ~np.isnan(series.grad_norm_total) & (series.step < step)
    return [float(value) for value in series.grad_norm_total[known][-GROWTH_SAMPLES:]]


DETECTOR = Detector(
    id=ID,
    title="the loss, a gradient or a parameter is NaN or infinite",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(),
    sql=SQL,
    parameters={},
    advice=(
        "Find the operation that the finding names; add an epsilon or a clamp, or use more "
        "precision."
    ),
    source="arXiv:2103.03376, arXiv:2304.09871",
    judge=judge,
    causes=("loss_scaler",),
    shown=Shown(
        normal="Every loss, gradient and weight is a finite number.",
    ),
)
