"""Scale, symmetry or gain of the initial weights prevents learning.

Symptom: before anything was learned, (a) the first loss is 14 times that of random guessing; (b)
pre-activations shrink 2.8× per layer or 256× over all layers, or grow 2× per layer, or their
gradients grow 1.6× or shrink 4× per layer toward the input, or a recurrent layer gets 2^12 times
the gradient of the others; (c) all rows of a hidden matrix are equal in weight and gradient: its
units stay copies; (d) no gradient reaches any hidden matrix in the first steps and weights are
zero; (e) the usual gain of the matrices, RMS(W) sqrt(fan_in), is 6 or more and pre-activations are
above 2, or it is 0.1 or less and gradients shrink 6.7× per layer toward the input: beyond common
initialisations, a warning whether the run learns or not if it is 6 and more, or 0.025 and less; (f)
the gain of single layers is 6 or more, and the tanh or sigmoid behind them is saturated, or the
first loss is 5 times that of random guessing (a warning in any state from a gain of 24 on); (g) the
gain of the weights of a recurrent layer is 6 or more, and they add 2 to its pre-activations.
Fix: He, Xavier or orthogonal initialisation of the layers named; scale inputs to about one.
Not flagged: zero heads, adapters, zero-initialised residual branches (their gradient rows differ,
or become non-zero after a step); pretrained starts (loss below naive); losses of unknown scale (a);
runs that learn in spite of (a) or (b), unless far outside anything healthy or both; runs that learn
all that there is to learn, unless units are copies or gradients exactly zero; resumed runs;
weights that the forward scales itself, as at an equalised learning rate or in front of sines, for
the signals keep their size; (e) in networks with normalisation layers, which undo the scale, is
information, unless the loss begins far above naive and ends no better than that.
Source: He et al., arXiv:1502.01852; Mishkin and Matas, arXiv:1511.06422.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from telemetry.diagnose.analyses.starting_weights import (
    LARGE_GAIN,
    SMALL_GAIN,
    START_LOSS_LIMIT,
    BadStart,
    recurrent_gain,
    saturating_layer,
    start_loss,
    usual_gain,
)
from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.evidence.grids import Grid, grids
from telemetry.diagnose.evidence.network import Parameter
from telemetry.diagnose.evidence.profiles import (
    Profile,
    gradient_profile,
    layer_profile,
    recurrent_excess,
)
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.severity import Certainty, Size, exact, statistical
from telemetry.diagnose.wording import MATRICES, and_more, example, number, times
from telemetry.store.sessions.rows import Rows

ID = "poor_initialization"
FORWARD_LOSS = 1.5  # bits a layer; healthy 0.55
WHOLE_LOSS = 8.0  # bits over all layers
FORWARD_GROWTH = 1.0  # bits a layer; healthy 0
BACKWARD_GROWTH = 0.65  # bits a layer toward the input; healthy 0.28
BACKWARD_LOSS = 2.0  # bits a layer toward the input; healthy 1.28
RECURRENT_LIMIT = 12.0  # bits
ANY_STATE_BITS = 4.0  # beyond healthy over the whole depth: a warning even in a run that learns
LAST_STEP = 2
EARLY_STEPS = 12  # that are read: a later sample stands in where the first ones were not taken
MIN_ROWS = 4
LARGE_INPUT = 32.0
UNSEEN = (
    f"no weight, gradient or activation of steps 0 to {LAST_STEP} was recorded; pass the optimizer"
)

SQL = """
SELECT
    a.site AS signal,
    a.step,
    a.module_id AS id,
    CASE WHEN a.site = 'output' THEN a.std ELSE SQRT(a.std * a.std + a.mean * a.mean) END AS value
FROM activations AS a
WHERE a.run = $run AND a.phase = 'train' AND a.step <= $last_step
    AND (a.site = 'output' OR (a.site = 'input' AND a.layer = ''))
UNION ALL
SELECT 'saturated' AS signal, a.step, a.module_id AS id, MAX(a.saturated_entry_share) AS value
FROM activations AS a
WHERE a.run = $run AND a.phase = 'train' AND a.step <= $last_step
    AND a.saturated_entry_share IS NOT NULL
GROUP BY a.step, a.module_id
UNION ALL
SELECT 'output_grad' AS signal, r.step, r.module_id AS id, SQRT(SUM(r.sumsq)) AS value
FROM module_numbers AS r
WHERE r.run = $run AND r.site = 'output_grad' AND r.phase = 'train' AND r.step <= $last_step
GROUP BY r.step, r.module_id
UNION ALL
SELECT p.kind AS signal, p.step, p.param_id AS id, SQRT(p.sumsq) AS value
FROM tensor_points AS p
WHERE p.run = $run AND p.step <= $last_step
    AND p.kind IN ('gradient', 'weight')
    AND p.n_sampled > 0
UNION ALL
SELECT
    p.kind || '_equal' AS signal,
    p.step,
    p.param_id AS id,
    CASE WHEN p.rows_equal THEN 1.0 ELSE 0.0 END AS value
FROM tensor_points AS p
WHERE p.run = $run AND p.step <= $last_step AND p.rows_equal IS NOT NULL
ORDER BY signal, step, id
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Symmetry, silence, gains, first loss: the worst is the finding, the others its evidence."""
    if not context.n_steps or context.steps.step[0] > LAST_STEP:
        return NotChecked(detector=ID, reason="the run does not begin at step 0")
    signals = grids(rows)
    starts = [
        start
        for start in (
            _symmetric(signals, context),
            _silent(signals, context),
            usual_gain(signals, rows, context, limits),
            saturating_layer(signals, rows, context, limits),
            recurrent_gain(signals, context, limits),
            _backward(rows, context, limits),
            _forward(rows, context, limits),
            _recurrent(rows, context, limits),
            start_loss(signals, context, limits),
        )
        if start is not None
        and not (context.learned_all and start.strength.certainty is not Certainty.EXACT)
    ]
    if not starts:
        return None if len(rows) else NotChecked(detector=ID, reason=UNSEEN)
    if len(starts) > 1 and not context.recovered:  # two signs are far from anything healthy
        starts = [
            replace(
                start, strength=replace(start.strength, size=max(start.strength.size, Size.FAR))
            )
            if start.strength.certainty is Certainty.STATISTICAL
            else start
            for start in starts
        ]
    return [_candidate(start, starts, signals, context) for start in starts]


def _candidate(
    worst: BadStart, starts: Sequence[BadStart], signals: Mapping[str, Grid], context: RunContext
) -> Candidate:
    return Candidate(
        strength=worst.strength,
        message=worst.message,
        advice=_advice(signals, context, worst),
        layer=worst.layers[0] if worst.layers else None,
        layers=worst.layers,
        first_step=0,
        last_step=int(min(LAST_STEP, context.steps.step[-1])),
        value=worst.value,
        threshold=worst.threshold,
        unit=worst.unit,
        evidence={
            "rules": [start.message for start in starts],
            "state": context.progress.state,
            "query": example(
                "layers",
                "step, layer, parameter, weight_std, grad_norm",
                last_step=LAST_STEP,
                where=MATRICES,
            ),
        },
    )


def _hidden(context: RunContext) -> tuple[Parameter, ...]:
    return context.network.matrices[:-1]


def _moves(context: RunContext) -> bool:
    """The learning rate of the first two steps was above zero: a zero gradient had time to go."""
    return bool((context.steps.lr[:LAST_STEP] > 0).all())


def _symmetric(signals: Mapping[str, Grid], context: RunContext) -> BadStart | None:
    layers = []
    for matrix in _hidden(context):
        weight = signals["weight_equal"].column(matrix.id)
        gradient = signals["gradient_equal"].column(matrix.id)
        equal = weight.size and gradient.size and weight.all() and gradient.all()
        if matrix.rows < MIN_ROWS or not equal:
            continue
        norms = signals["gradient"].column(matrix.id)
        if norms[: LAST_STEP + 1].any() or (norms.size > LAST_STEP and _moves(context)):
            layers.append(matrix.layer)
    if not layers:
        return None
    return BadStart(
        strength=exact(Size.TOTAL),
        message=f"all units of {and_more(layers)} start equal and get equal gradients, so they "
        "stay copies of one unit",
        layers=tuple(dict.fromkeys(layers)),
        value=1.0,
        threshold=1.0,
        unit="distinct rows",
    )


def _silent(signals: Mapping[str, Grid], context: RunContext) -> BadStart | None:
    hidden = _hidden(context)
    gradients = [signals["gradient"].column(matrix.id) for matrix in hidden]
    weights = [signals["weight"].column(matrix.id)[:1] for matrix in context.network.matrices]
    zero_weights = any(weight.size and not weight.any() for weight in weights)
    # With a coarse cadence the second sample comes later: it must be there, a zero head moves.
    seen = signals["gradient"].steps.size and signals["gradient"].steps[-1] >= LAST_STEP
    silent = bool(gradients) and all(g.size > 1 and not g.any() for g in gradients)
    if not seen or not silent or not zero_weights or not _moves(context):
        return None
    layers = tuple(dict.fromkeys(matrix.layer for matrix in hidden))
    return BadStart(
        strength=exact(Size.TOTAL),
        message=(
            f"no gradient reaches {and_more(layers)} in the first steps because weights are zero"
        ),
        layers=layers,
        value=0.0,
        threshold=0.0,
        unit="gradient norm",
    )


def _first(profile: Profile) -> float:
    """Slope at the first sampled step, NaN when the chain is too short."""
    return float(profile.slope[0]) if profile.long_enough else float("nan")


def _bad_gain(
    profile: Profile, *, gain: float, limit: float, healthy: float, what: str
) -> BadStart:
    beyond = (abs(gain) - healthy) * (profile.n_layers - 1)
    return BadStart(
        strength=statistical(Size.FAR if beyond >= ANY_STATE_BITS else Size.CLEAR),
        message=f"{what} {times(abs(gain))} per layer over {profile.n_layers} layers at the "
        f"start (limit {times(abs(limit))})",
        layers=(profile.layers[0],),
        value=gain,
        threshold=limit,
        unit="bits/layer",
    )


def _forward(rows: Rows, context: RunContext, limits: Limits) -> BadStart | None:
    profile = layer_profile(rows, context.network, "output")
    gain = _first(profile)
    if gain >= limits["forward_growth"]:
        limit, healthy, what = limits["forward_growth"], 0.0, "pre-activations grow"
    elif gain <= -_least_loss(profile, limits):
        limit, healthy, what = _least_loss(profile, limits), 0.55, "pre-activations shrink"
    else:
        return None
    return _bad_gain(profile, gain=gain, limit=limit, healthy=healthy, what=what)


def _least_loss(profile: Profile, limits: Limits) -> float:
    """Bits a layer: over many layers fewer leave nothing of the input."""
    return min(limits["forward_loss"], limits["whole_loss"] / max(1, profile.n_layers - 1))


def _backward(rows: Rows, context: RunContext, limits: Limits) -> BadStart | None:
    profile = layer_profile(rows, context.network, "output_grad")
    gain = -_first(profile)
    forward = _first(layer_profile(rows, context.network, "output"))
    if gain >= limits["backward_growth"]:
        limit, healthy, what = limits["backward_growth"], 0.28, "toward the input, gradients grow"
    elif gain <= -limits["backward_loss"] and forward <= -limits["forward_loss"]:
        limit, healthy, what = limits["backward_loss"], 1.28, "toward the input, gradients shrink"
    else:
        return None
    return _bad_gain(profile, gain=gain, limit=limit, healthy=healthy, what=what)


def _recurrent(rows: Rows, context: RunContext, limits: Limits) -> BadStart | None:
    excess, layer = recurrent_excess(gradient_profile(rows, context.network), context.network)
    if not excess.size or not excess[0] >= limits["recurrent_limit"]:
        return None
    value = float(excess[0])
    return BadStart(
        strength=statistical(),
        message=f"{layer} gets {times(value)} the gradient of the layers outside the recurrence "
        f"at the start (limit {times(limits['recurrent_limit'])}): its recurrent "
        "weights are too large",
        layers=(layer,),
        value=value,
        threshold=limits["recurrent_limit"],
        unit="bits",
    )


def _advice(signals: Mapping[str, Grid], context: RunContext, worst: BadStart) -> str:
    inputs = signals["input"].column(context.network.root_id)
    if inputs.size and inputs[0] >= LARGE_INPUT and worst.unit == "× naive":
        return (
            f"Standardise the inputs first: their RMS is {number(float(inputs[0]))}. Then use "
            "He or Xavier initialisation."
        )
    if worst.unit == "distinct rows":
        return "Draw the weights at random (He or Xavier); only biases may start constant."
    return (
        "Use He (ReLU), Xavier (tanh) or orthogonal (recurrent) initialisation, and scale the "
        "last layer so that the first loss is about that of random guessing."
    )


DETECTOR = Detector(
    id=ID,
    title="the scale, symmetry or gain of the initial weights prevents learning",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={
        "start_loss_limit": START_LOSS_LIMIT,
        "forward_loss": FORWARD_LOSS,
        "whole_loss": WHOLE_LOSS,
        "forward_growth": FORWARD_GROWTH,
        "backward_growth": BACKWARD_GROWTH,
        "backward_loss": BACKWARD_LOSS,
        "recurrent_limit": RECURRENT_LIMIT,
        "large_gain": LARGE_GAIN,
        "small_gain": SMALL_GAIN,
        "last_step": EARLY_STEPS,
    },
    advice="Use He, Xavier or orthogonal initialisation; scale inputs and the last layer.",
    source="arXiv:1502.01852, arXiv:1511.06422",
    judge=judge,
    # A network that starts far off overshoots at any rate.
    causes=(
        "saturated_units",
        "vanishing_gradient",
        "exploding_gradient",
        "dead_units",
        "output_logits",
        "learning_rate_too_high",
        "vanishing_through_time",
        "representation_collapse",
        "layer_imbalance",
        "learning_rate_too_low",
        "loss_not_decreasing",
    ),
    acts_by=(Mechanism.GROWTH, Mechanism.SMALL_GRADIENTS),
    shown=Shown(
        normal="The first loss is about that of random guessing, signals and gradients keep "
        "their size from layer to layer, and weights have a gain of 0.6 to 1.7.",
    ),
)
