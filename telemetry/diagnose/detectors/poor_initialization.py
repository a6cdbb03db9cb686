"""Scale, symmetry or gain of the initial weights prevents learning.

Symptom: before anything was learned, (a) the first loss is 14 times what knowing nothing costs;
(b) pre-activations shrink by 1.5 or grow by 1.0 bits a layer, or their gradients grow by 0.65 or
shrink by 2 bits a layer toward the input, or a recurrent layer gets 2^12 times the gradient of the
others; (c) all rows of a hidden matrix are equal in weight and gradient: its units stay copies;
(d) no gradient reaches any hidden matrix in the first steps and weights are zero; (e) the usual
gain of the matrices, RMS(W) sqrt(fan_in), is 6 or more and pre-activations are above 2, or it is
0.1 or less and gradients shrink by 2.75 bits a layer toward the input: beyond common
initialisations, a warning whether the run learns or not if it is 6 and more, or 0.04 and less.
Fix: He, Xavier or orthogonal initialisation of the layers named; scale inputs to about one.
Not flagged: zero heads, adapters, zero-initialised residual branches (their gradient rows differ,
or become non-zero after a step); pretrained starts (loss below naive); losses of unknown scale (a);
runs that learn in spite of (a) or (b), unless far outside anything healthy or both; resumed runs;
weights that the forward scales itself, as at an equalised learning rate or in front of sines, for
the signals keep their size; (e) in networks with normalisation layers, which undo the scale, is
information, unless the loss begins far above naive and ends no better than that.
Source: He et al., arXiv:1502.01852; Mishkin and Matas, arXiv:1511.06422.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import Finding, NotChecked, Severity
from telemetry.diagnose.grids import Grid, grids
from telemetry.diagnose.network import Parameter
from telemetry.diagnose.profiles import (
    Profile,
    gradient_profile,
    layer_profile,
    recurrent_excess,
)
from telemetry.diagnose.progress import BASELINE_SHARE
from telemetry.diagnose.robust import median
from telemetry.diagnose.weight_gains import first_gains
from telemetry.diagnose.wording import MATRICES, and_more, example, gated, number
from telemetry.store.rows import Rows

ID = "poor_initialization"
START_LOSS_LIMIT = 14.0  # regressions by He's start: up to 6.9, cross-entropies up to 4.5
HIGH_START = 5.0  # times naive; with normalisation layers, and an end that is no better than naive
START_LOSS_ANY = 28.0  # 2 bits above anything healthy: a warning even in a run that learns
FORWARD_LOSS = 1.5  # bits a layer; healthy 0.55
FORWARD_GROWTH = 1.0  # bits a layer; healthy 0
BACKWARD_GROWTH = 0.65  # bits a layer toward the input; healthy 0.28
BACKWARD_LOSS = 2.0  # bits a layer toward the input; healthy 1.28
RECURRENT_LIMIT = 12.0  # bits
LARGE_GAIN = 6.0  # healthy at most 1.5 at the start, 4.0 when trained; faults from 9
LARGE_SIGNAL = 2.0  # standard deviation of the pre-activations behind such weights; faults from 5
SMALL_GAIN = 0.1  # healthy from 0.5 at the start, 0.17 when trained; faults up to 0.06
SMALL_ANY_STATE = 0.04  # half of what a width of 16 still grows out of (0.02 for each weight)
SMALL_LOSS = 2.75  # bits a layer toward the input behind such weights; healthy 1.75, faults 3.76
MIN_CHAIN = 3  # layers
ANY_STATE_BITS = 4.0  # beyond healthy over the whole depth: a warning even in a run that learns
LAST_STEP = 2
EARLY_STEPS = 12  # that are read: a later sample stands in where the first ones were not taken
MIN_ROWS = 4
LARGE_INPUT = 32.0

SQL = """
SELECT
    a.site AS signal,
    a.step,
    a.module_id AS id,
    CASE WHEN a.site = 'output' THEN a.std ELSE SQRT(a.std * a.std + a.mean * a.mean) END AS value
FROM activations AS a
WHERE a.run = $run
    AND a.phase = 'train'
    AND a.step <= $last_step
    AND (a.site = 'output' OR (a.site = 'input' AND a.layer = ''))
UNION ALL
SELECT 'output_grad' AS signal, r.step, r.module_id AS id, SQRT(SUM(r.sumsq)) AS value
FROM module_rows AS r
WHERE r.run = $run
    AND r.site = 'output_grad'
    AND r.phase = 'train'
    AND r.step <= $last_step
GROUP BY r.step, r.module_id
UNION ALL
SELECT p.kind AS signal, p.step, p.param_id AS id, SQRT(p.sumsq) AS value
FROM tensor_points AS p
WHERE p.run = $run
    AND p.step <= $last_step
    AND p.kind IN ('gradient', 'weight')
    AND p.n_sampled > 0
UNION ALL
SELECT
    p.kind || '_equal' AS signal,
    p.step,
    p.param_id AS id,
    CASE WHEN p.rows_equal THEN 1.0 ELSE 0.0 END AS value
FROM tensor_points AS p
WHERE p.run = $run
    AND p.step <= $last_step
    AND p.rows_equal IS NOT NULL
ORDER BY signal, step, id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """What one rule found."""

    severity: Severity
    message: str
    layers: tuple[str, ...]
    value: float
    threshold: float
    unit: str


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Symmetry, silence, gains, first loss: the worst is the finding, the others its evidence."""
    if not context.n_steps or context.steps.step[0] > LAST_STEP:
        return NotChecked(detector=ID, reason="the run does not begin at step 0")
    signals = grids(rows)
    rules = [
        rule
        for rule in (
            _symmetric(signals, context),
            _silent(signals, context),
            _weights(signals, rows, context, limits),
            _backward(rows, context, limits),
            _forward(rows, context, limits),
            _recurrent(rows, context, limits),
            _start_loss(context, limits),
        )
        if rule is not None
    ]
    if not rules:
        return None
    worst = min(rules, key=lambda rule: rule.severity.rank)
    severity = worst.severity
    if len(rules) > 1 and severity is Severity.INFO:
        severity = gated(context.progress, extreme=True)
    return Finding(
        detector=ID,
        severity=severity,
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
            "rules": [rule.message for rule in rules],
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


def _symmetric(signals: Mapping[str, Grid], context: RunContext) -> _Rule | None:
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
    return _Rule(
        severity=Severity.ERROR,
        message=f"all units of {and_more(layers)} start equal and get equal gradients: they stay "
        "copies of one unit",
        layers=tuple(dict.fromkeys(layers)),
        value=1.0,
        threshold=1.0,
        unit="distinct rows",
    )


def _silent(signals: Mapping[str, Grid], context: RunContext) -> _Rule | None:
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
    return _Rule(
        severity=Severity.ERROR,
        message=f"no gradient reaches {and_more(layers)} in the first steps: weights are zero",
        layers=layers,
        value=0.0,
        threshold=0.0,
        unit="gradient norm",
    )


def _weights(
    signals: Mapping[str, Grid], rows: Rows, context: RunContext, limits: Limits
) -> _Rule | None:
    gains = first_gains(signals["weight"], context.network)
    large = gains.usual >= limits["large_gain"]
    limit = limits["large_gain" if large else "small_gain"]
    if large:
        value = _first_signal(layer_profile(rows, context, "output"))
        said = f"pre-activations have a standard deviation of {number(value)}"
        held = value >= LARGE_SIGNAL
    elif gains.usual <= limit:
        value = _shrinking(layer_profile(rows, context, "output_grad"))
        said = f"gradients shrink by {value:.1f} bits a layer toward the input"
        held = value >= SMALL_LOSS
    else:
        return None
    if not held:
        return None
    normalised = any(module.role == "norm" for module in context.network.modules)
    undone = normalised and not _costs_the_run(context)
    extreme = large or gains.usual <= SMALL_ANY_STATE
    severity = Severity.WARNING if extreme else gated(context.progress)
    layers = gains.beyond(limit, large=large)
    return _Rule(
        severity=Severity.INFO if undone else severity,
        message=f"the weights of {and_more(layers)} start {'large' if large else 'small'}: their "
        f"usual gain, RMS x sqrt(fan-in), is {number(gains.usual)} (limit {number(limit)}; 0.6 to "
        f"1.7 by common initialisations), and {said}",
        layers=layers,
        value=gains.usual,
        threshold=limit,
        unit="gain",
    )


def _costs_the_run(context: RunContext) -> bool:
    """The first loss is high, and all that was learned since is not to be worse than guessing."""
    naive, end = context.baseline.naive, context.progress.end
    if naive is None or not context.first_loss >= HIGH_START * naive:
        return False
    return end >= BASELINE_SHARE * naive


def _first_signal(profile: Profile) -> float:
    """Usual size along the chain at the first sample; NaN where it was not observed."""
    return 2.0 ** median(profile.bits[0]) if profile.steps.size else float("nan")


def _shrinking(profile: Profile) -> float:
    """Bits a layer that the gradient loses from the head to the first layer at the first sample."""
    if profile.n_layers < MIN_CHAIN or not profile.steps.size:
        return float("nan")
    return float(-profile.drop[0]) / (profile.n_layers - 1)


def _start_loss(context: RunContext, limits: Limits) -> _Rule | None:
    naive = context.baseline.naive
    if naive is None or not context.first_loss >= limits["start_loss_limit"] * naive:
        return None
    ratio = context.first_loss / naive
    return _Rule(
        severity=gated(context.progress, extreme=ratio >= START_LOSS_ANY),
        message=f"the first loss is {number(context.first_loss)}, {number(ratio)} x what knowing "
        f"nothing costs ({number(naive)}; limit {number(limits['start_loss_limit'])} x)",
        layers=(),
        value=ratio,
        threshold=limits["start_loss_limit"],
        unit="x naive",
    )


def _first(profile: Profile) -> float:
    """Slope at the first sampled step, NaN when the chain is too short."""
    return float(profile.slope[0]) if profile.long_enough else float("nan")


def _gain_rule(
    context: RunContext, profile: Profile, *, gain: float, limit: float, healthy: float, what: str
) -> _Rule:
    beyond = (abs(gain) - healthy) * (profile.n_layers - 1)
    return _Rule(
        severity=gated(context.progress, extreme=beyond >= ANY_STATE_BITS),
        message=f"{what} by {abs(gain):.2f} bits a layer over {profile.n_layers} layers at the "
        f"start (limit {limit:g})",
        layers=(profile.layers[0],),
        value=gain,
        threshold=limit,
        unit="bits/layer",
    )


def _forward(rows: Rows, context: RunContext, limits: Limits) -> _Rule | None:
    profile = layer_profile(rows, context, "output")
    gain = _first(profile)
    if gain >= limits["forward_growth"]:
        limit, healthy, what = limits["forward_growth"], 0.0, "pre-activations grow"
    elif gain <= -limits["forward_loss"]:
        limit, healthy, what = limits["forward_loss"], 0.55, "pre-activations shrink"
    else:
        return None
    return _gain_rule(context, profile, gain=gain, limit=limit, healthy=healthy, what=what)


def _backward(rows: Rows, context: RunContext, limits: Limits) -> _Rule | None:
    profile = layer_profile(rows, context, "output_grad")
    gain = -_first(profile)
    forward = _first(layer_profile(rows, context, "output"))
    if gain >= limits["backward_growth"]:
        limit, healthy, what = limits["backward_growth"], 0.28, "gradients grow toward the input"
    elif gain <= -limits["backward_loss"] and forward <= -limits["forward_loss"]:
        limit, healthy, what = limits["backward_loss"], 1.28, "gradients shrink toward the input"
    else:
        return None
    return _gain_rule(context, profile, gain=gain, limit=limit, healthy=healthy, what=what)


def _recurrent(rows: Rows, context: RunContext, limits: Limits) -> _Rule | None:
    excess, layer = recurrent_excess(gradient_profile(rows, context), context)
    if not excess.size or not excess[0] >= limits["recurrent_limit"]:
        return None
    value = float(excess[0])
    return _Rule(
        severity=gated(context.progress),
        message=f"{layer} gets 2^{value:.0f} times the gradient of the layers outside the "
        f"recurrence at the start (limit 2^{limits['recurrent_limit']:.0f}): its recurrent "
        "weights are too large",
        layers=(layer,),
        value=value,
        threshold=limits["recurrent_limit"],
        unit="bits",
    )


def _advice(signals: Mapping[str, Grid], context: RunContext, worst: _Rule) -> str:
    inputs = signals["input"].column(context.network.root_id)
    if inputs.size and inputs[0] >= LARGE_INPUT and worst.unit == "x naive":
        return (
            f"Standardise the inputs first: their RMS is {number(float(inputs[0]))}. Then "
            "initialise by He or Xavier."
        )
    if worst.unit == "distinct rows":
        return "Draw the weights at random (He or Xavier); a constant start is for biases."
    return (
        "Initialise the layers by He (ReLU), Xavier (tanh) or orthogonally (recurrent), and scale "
        "the last layer so that the first loss is what guessing costs."
    )


DETECTOR = Detector(
    id=ID,
    title="scale, symmetry or gain of the initial weights prevents learning",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={
        "start_loss_limit": START_LOSS_LIMIT,
        "forward_loss": FORWARD_LOSS,
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
    shown=Shown(
        normal="The first loss is about that of answering without looking, signal and gradient "
        "keep their size from layer to layer, and weights have a gain of 0.6 to 1.7.",
    ),
)
