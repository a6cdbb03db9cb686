"""A parameter that should train does not move.

Symptom: over at least five sampled steps with a learning rate, (a) a parameter receives gradients
but is in no optimizer and stays as it is, also one that was frozen at first; (b) the gradient of
the first layers is None although their forward ran with gradient: the graph is cut behind them; (c)
a parameter of the optimizer receives gradients and no element of it changes: the optimizer steps
another tensor; (d) the gradients of a layer's weights and of its bias are exactly zero though that
of its outputs is not: they are set to zero after they were computed; (e) an adapter of zeros gets
gradients of zero in a run that does not learn: each factor of a product waits for the other.
Fix: give the parameter to the optimizer, remove the detach or the hook, build the optimizer after
the model is complete and on its device.
Not flagged: requires_grad=False; modules whose forward never ran with gradient (unused heads and
teachers: information); branches beside the trained path that get no gradient (information); a
learning rate of zero; steps the loss scaler skipped; updates too small for the weight's precision;
gradients whose squares overflow it, which adaptive optimizers divide by; first layers with zero
gradients in a run that learns, unless they hold what they were initialised with (information);
a model of which only the last layers are given to the optimizer (linear probing: information, as
long as it learns and the others do not hold what they were initialised with).
Source: Humbatova et al., arXiv:1910.11015; Jiang et al., TrainCheck, arXiv:2506.14813.
"""

from collections.abc import Sequence

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.network import LAST
from telemetry.diagnose.evidence.observed_parameter import MIN_SAMPLES, Observed, observed_from
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import Size, Strength, exact, measured
from telemetry.diagnose.tags import Tag, is_frozen
from telemetry.diagnose.wording import and_more, example
from telemetry.store.sessions.rows import Rows

ID = "unchanged_parameters"
ROUNDED_SHARE = 1e-6  # rate x gradient over weight: below, float32 may round the step away
LOW_PRECISION = frozenset({"bfloat16", "float16"})
OVERFLOWING = 2.0**63  # the square of such a gradient is beyond float32

# A sum of squares of 1e-24 is a signal: of what is smaller, products may round to zero.
SQL = """
SELECT
    p.param_id,
    MAX(f.n_forwards) AS n_forwards,
    SUM(CASE WHEN p.kind = 'gradient' THEN 1 ELSE 0 END) AS n_gradient,
    SUM(CASE WHEN p.kind = 'gradient' AND p.n_sampled = 0 THEN 1 ELSE 0 END) AS n_none,
    SUM(CASE WHEN p.kind = 'gradient' AND p.sumsq > 0 THEN 1 ELSE 0 END) AS n_moving_gradient,
    SUM(CASE WHEN p.kind = 'gradient' AND p.n_zero = NULLIF(p.n_sampled, 0) THEN 1 ELSE 0 END)
        AS n_zero_gradient,
    MAX(f.n_signals) AS n_signals, MAX(f.n_answers) AS n_answers,
    SUM(CASE WHEN p.kind = 'update' AND p.n_sampled > 0 THEN 1 ELSE 0 END) AS n_update,
    SUM(CASE WHEN p.kind = 'update' AND p.n_zero = p.n_sampled THEN 1 ELSE 0 END) AS n_still,
    MAX(CASE WHEN p.kind = 'weight' THEN p.sumsq END)
        - MIN(CASE WHEN p.kind = 'weight' THEN p.sumsq END) AS weight_range,
    SUM(CASE WHEN p.kind = 'weight' THEN 1 ELSE 0 END) AS n_weight,
    MAX(CASE WHEN p.kind = 'gradient' THEN SQRT(p.sumsq / p.n) END) AS gradient_rms,
    MAX(CASE WHEN p.kind = 'weight' THEN SQRT(p.sumsq / p.n) END) AS weight_rms,
    MAX(CASE WHEN p.kind = 'weight' THEN p.absmax / SQRT(p.sumsq / p.n) END) AS peak,
    MAX(CASE WHEN t.lr_group = 0 THEN s.lr ELSE g.lr END) AS lr,
    MIN(p.step) AS first_step, MAX(p.step) AS last_step
FROM tensor_points AS p
JOIN tensors AS t ON t.run = p.run AND t.tensor_id = p.param_id
JOIN (
    SELECT r.run, r.step, MAX(r.lr) AS lr, MAX(r.flags) AS flags FROM steps AS r
    WHERE r.run = $run GROUP BY r.run, r.step
) AS s ON s.run = p.run AND s.step = p.step
LEFT JOIN (
    SELECT r.run, r.module_id, SUM(CASE WHEN r.site = 'output' THEN 1 ELSE 0 END) AS n_forwards,
        SUM(CASE WHEN r.site = 'output' AND r.sumsq > 0 THEN 1 ELSE 0 END) AS n_answers,
        SUM(CASE WHEN r.site = 'output_grad' AND r.sumsq > 1e-24 THEN 1 ELSE 0 END) AS n_signals
    FROM module_numbers AS r
    WHERE r.phase = 'train' AND r.site IN ('output', 'output_grad')
    GROUP BY r.run, r.module_id
) AS f ON f.run = t.run AND f.module_id = t.module_id
LEFT JOIN (
    SELECT m.run, m.name, MAX(m.value) AS lr FROM metrics AS m
    WHERE m.name LIKE 'lr/%' GROUP BY m.run, m.name
) AS g ON g.run = t.run AND g.name = 'lr/' || CAST(t.lr_group AS VARCHAR)
WHERE p.run = $run AND (s.lr IS NULL OR s.lr > 0 OR g.lr > 0) AND MOD(s.flags, 4) < 2
GROUP BY p.param_id
ORDER BY p.param_id
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Left out of the optimizer, cut off from the loss, or stepped elsewhere."""
    del limits
    known = {
        p.id: p
        for p in context.network.parameters
        if not is_frozen(tuple(context.tags), p.name, p.layer)
    }
    told = [
        observed_from(record, known[identity])
        for record in rows.records()
        if isinstance(identity := record["param_id"], int) and identity in known
    ]
    observed = [entry for entry in told if entry.parameter.trainable or entry.unfrozen]
    if max((entry.n_weight for entry in observed), default=0) < MIN_SAMPLES:
        return NotChecked(
            detector=ID,
            reason=f"fewer than {MIN_SAMPLES} sampled steps with a learning rate above zero",
        )
    # A layer is named by its matrix, not by its bias.
    observed.sort(key=lambda e: (e.parameter.depth, not e.parameter.is_matrix, e.parameter.name))
    return (
        _left_out(observed, context)
        or _cut_off(observed)
        or _stepped_elsewhere(observed, context)
        or _set_to_zero(observed, context)
        or _waits_for_another(observed, context)
        or _unused(observed)
    )


def _left_out(observed: Sequence[Observed], context: RunContext) -> Candidate | None:
    """Gradients, no optimizer, no movement."""
    found = [
        entry
        for entry in observed
        if entry.parameter.lr_group is None and entry.gets_gradient and entry.still
    ]
    if not found:
        return None
    held = [entry for entry in observed if entry.parameter.lr_group is not None]
    probing = not context.network.n_foreign and _is_probing(found, held, context)
    how = (
        f"; the optimizer has {context.network.n_foreign} tensors that do not belong to the model"
        if context.network.n_foreign
        else "; they were frozen at the start"
        if all(entry.unfrozen for entry in found)
        else ""
    )
    return _finding(
        found,
        strength=exact(Size.TOTAL, meant=probing),
        message=f"{_names(found)} {_get(found)} gradients but {_is(found)} in no optimizer and "
        f"never changed{how}",
        advice=(
            "If they are frozen on purpose, call requires_grad_(False), which makes the "
            "backward pass cheaper. "
        )
        if probing
        else "Build the optimizer from model.parameters() after every layer is in place "
        "(heads, adapters, .to(device)), or add a parameter group for them.",
    )


def _is_probing(
    found: Sequence[Observed], learning: Sequence[Observed], context: RunContext
) -> bool:
    """First layers that stand still, as after another training, below those that learn."""
    first = min((entry.parameter.depth for entry in learning), default=LAST)
    return (
        bool(learning)
        and all(entry.parameter.depth < first for entry in found)
        and not context.progress.failing
        and not any(entry.looks_initial or entry.unfrozen for entry in found)
    )


def _cut_off(observed: Sequence[Observed]) -> Candidate | None:
    """No gradient for the first layers although their forward ran with gradient."""
    matrices = [entry for entry in observed if entry.parameter.is_matrix]
    found = [
        e for e in observed if e.no_gradient and e.n_forwards and e.parameter.lr_group is not None
    ]
    reached = [e.parameter.depth for e in matrices if e.gets_gradient]
    if not found or not reached:
        return None
    cut = [e for e in found if e.parameter.depth < min(reached)]
    before = [e for e in matrices if e.parameter.depth < min(reached)]
    if not cut or not before or not all(e.no_gradient for e in before):
        return None
    nearest = max(cut, key=lambda e: (e.parameter.depth, e.parameter.is_matrix))
    after = next(e for e in matrices if e.parameter.depth == min(reached))
    rest = [entry for entry in reversed(cut) if entry is not nearest]
    return _finding(
        [nearest, *rest],
        strength=exact(Size.TOTAL),
        message=f"no gradient reaches {and_more([e.parameter.name for e in (nearest, *rest)])}: "
        f"the graph is cut somewhere between {nearest.parameter.layer or 'the model'} "
        f"and {after.parameter.layer or 'the model'}",
        advice=f"Look for .detach(), torch.no_grad(), .data, .item() or numpy between "
        f"{nearest.parameter.layer or 'the model'} and {after.parameter.layer or 'the model'}; "
        "freeze layers with requires_grad_(False) if this is intended.",
    )


def _stepped_elsewhere(observed: Sequence[Observed], context: RunContext) -> Candidate | None:
    """In the optimizer, gradients, no movement."""
    found = [
        entry
        for entry in observed
        if entry.parameter.lr_group is not None
        and entry.gets_gradient
        and entry.still
        and entry.n_update >= MIN_SAMPLES
        and _should_move(entry)
    ]
    if not found or not context.optimizers:
        return None
    return _finding(
        found,
        strength=exact(Size.TOTAL),
        message=f"{_names(found)} {_get(found)} gradients and {_is(found)} in the optimizer, "
        "but no element changed in any sampled step",
        advice="The optimizer updates other tensors than the model uses: build it after .to(), "
        "weight loading or adapter injection, and do not replace parameters afterwards.",
    )


def _set_to_zero(observed: Sequence[Observed], context: RunContext) -> Candidate | None:
    """Zero gradients of weights and bias, with a gradient of the outputs: not by the chain rule.

    The bias's is the sum of the outputs'. Without a bias, outputs that are not zero have an input
    that is not, and the weights' is the product of both.
    """
    zeroed = [e for e in observed if e.zeroed and e.parameter.lr_group is not None]
    biased = {e.parameter.layer for e in observed if not e.parameter.is_matrix}
    both = {e.parameter.layer for e in zeroed if not e.parameter.is_matrix}
    sure = {
        e.parameter.layer
        for e in zeroed
        if e.parameter.is_matrix
        and (e.parameter.layer in both or (e.n_answers and e.parameter.layer not in biased))
    }
    found = [entry for entry in zeroed if entry.parameter.layer in sure]
    if not found:
        return None
    learning = [entry for entry in observed if entry.gets_gradient]
    return _finding(
        found,
        strength=exact(Size.TOTAL, meant=_is_probing(found, learning, context)),
        message=f"the gradient of {_names(found)} is exactly zero in every sample, but the "
        "gradient of the layer's outputs is not: something sets it to zero after the "
        "backward pass",
        advice="Look for a hook, a mask or a loop over .grad that multiplies by zero; freeze "
        "layers with requires_grad_(False) if this is intended.",
    )


def _waits_for_another(observed: Sequence[Observed], context: RunContext) -> Candidate | None:
    """Zeros that never got a gradient other than zero, as both factors of an adapter."""
    found = [entry for entry in observed if entry.parameter.lr_group is not None and entry.waits]
    if not found or not context.progress.failing:
        return None
    return _finding(
        found,
        strength=exact(Size.TOTAL),
        message=f"{_names(found)} {_is(found)} zero and {_get(found)} zero gradients in every "
        "sample: the factor they are multiplied with is zero too",
        advice=(
            "Initialise one factor of each product at random, such as A of an adapter whose B "
            "is zero."
        ),
    )


def _should_move(entry: Observed) -> bool:
    if entry.parameter.dtype in LOW_PRECISION or not entry.lr > 0:
        return False
    if entry.gradient_rms >= OVERFLOWING:
        return False
    return entry.lr * entry.gradient_rms >= ROUNDED_SHARE * max(entry.weight_rms, 1e-12)


def _unused(observed: Sequence[Observed]) -> Candidate | None:
    """Never any gradient, and not because the graph is cut before all that learns.

    A description, unless the run does not learn and a layer that answers in each forward is among
    them: then its output is detached, or the loss is not made of it.
    """
    if not any(entry.gets_gradient for entry in observed):
        return None
    found = [e for e in observed if e.no_gradient and e.parameter.lr_group is not None]
    if not found:
        return None
    answers = any(e.parameter.is_matrix and e.n_forwards for e in found)
    return _finding(
        found,
        strength=(exact if answers else measured)(Size.SLIGHT),
        message=f"{_names(found)} never got a gradient: unused, or on a branch that the loss does "
        "not reach",
        advice=(
            "Remove these parameters, freeze them with requires_grad_(False), or let the loss "
            "use them."
        ),
    )


def _finding(
    found: Sequence[Observed], *, strength: Strength, message: str, advice: str
) -> Candidate:
    names = tuple(entry.parameter.name for entry in found)
    worst = found[0]
    return Candidate(
        strength=strength,
        message=message,
        advice=advice,
        layer=names[0],
        layers=names,
        first_step=min(entry.first_step for entry in found),
        last_step=max(entry.last_step for entry in found),
        value=float(len(found)),
        threshold=0.0,
        unit="parameters",
        evidence={
            "n_elements": sum(entry.parameter.n for entry in found),
            "n_samples": worst.n_weight,
            "query": example(
                "layers",
                "step, layer, parameter, update_norm, grad_norm_seen, lr_group",
            ),
        },
    )


def _names(found: Sequence[Observed]) -> str:
    return and_more([entry.parameter.name for entry in found])


def _get(found: Sequence[Observed]) -> str:
    return "gets" if len(found) == 1 else "get"


def _is(found: Sequence[Observed]) -> str:
    return "is" if len(found) == 1 else "are"


DETECTOR = Detector(
    id=ID,
    title="a parameter that should train does not change",
    tier=Tier.INVARIANT,
    severity=Severity.ERROR,
    needs=(Need.WEIGHT,),
    sql=SQL,
    parameters={},
    advice="Pass it to the optimizer, remove the detach, or build the optimizer later.",
    source="arXiv:1910.11015, arXiv:2506.14813",
    judge=judge,
    # A network that is hardly moved keeps the short reach it starts with.
    causes=("learning_rate_too_low", "vanishing_through_time", "loss_not_decreasing"),
    silenced_by=(Tag.FROZEN,),
    shown=Shown(
        low_is_worse=True,
        normal="Every parameter that should learn gets a gradient, belongs to an optimizer and "
        "changes in each step.",
    ),
)
