"""The learning signal decays geometrically on its way from the head to the input.

Symptom: the loss does not fall while the gradient shrinks at least 2× per layer toward the input
(2^-10 and less over the network), or the gradient of the layers' outputs 4× per layer.
The second sees networks whose weights are all too small: there every weight gets the same tiny
gradient, the product of a forward signal that shrinks and a backward signal that shrinks.
Fix: replace sigmoid and tanh by ReLU or GELU, add normalisation or residual connections, initialise
by He or Xavier.
Not flagged: biases, embeddings, adapters and frozen layers; zero-initialised residual branches and
LayerScale in their first steps; a run that learns (information only, unless the first layers get
less than 2^-13 of the head's gradient); layers whose gradient is exactly zero, which are dead or
cut off, not vanishing.
Source: He et al., arXiv:1502.01852; Schoenholz et al., arXiv:1611.01232.

Gradients are compared as ||g|| / sqrt(fan_in) and output gradients as norms over the batch, so that
bottlenecks and strides are no slope (`profiles`). A net of many layers also counts from 1.3× per
layer when that makes 2^14 in all.
"""

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.evidence.profiles import (
    MIN_LAYERS,
    Profile,
    gradient_profile,
    layer_profile,
)
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import Persistence, persistence
from telemetry.diagnose.judgement.robust import FloatArray, median
from telemetry.diagnose.judgement.severity import Size, statistical
from telemetry.diagnose.wording import MATRICES, example, times
from telemetry.store.sessions.rows import Rows

ID = "vanishing_gradient"
SLOPE_LIMIT = 1.0  # bits a layer; healthy after warm-in at most 0.33, sigmoid stacks 2.3 to 2.8
DROP_LIMIT = 10.0  # bits from head to first layer; healthy at most 2.6, sigmoid stacks 17 to 20
DROP_ANY_STATE = 13.0  # bits: a warning even in a run that learns; sigmoid-3 learns with 7
DROP_ERROR = 20.0  # bits: the first layers get a millionth of the head's gradient
GAIN_LIMIT = 2.0  # bits a layer lost by output gradients; healthy 1.28, faults 2.8 to 4.1
LONG_SLOPE = 0.4  # bits a layer that count in a deep net ...
LONG_DROP = 14.0  # ... when they add up to this
MIN_SAMPLES = 3

SQL = """
SELECT
    'gradient' AS signal,
    l.step,
    l.param_id AS id,
    l.grad_norm AS value
FROM layers AS l
WHERE l.run = $run
    AND l.grad_norm IS NOT NULL
UNION ALL
SELECT
    'output_grad' AS signal,
    r.step,
    r.module_id AS id,
    SQRT(SUM(r.sumsq)) AS value
FROM module_numbers AS r
WHERE r.run = $run
    AND r.site = 'output_grad'
    AND r.phase = 'train'
GROUP BY r.step, r.module_id
ORDER BY step, id
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The steeper of two profiles: weight gradients, or gradients of the layers' outputs."""
    weights = gradient_profile(rows, context.network)
    outputs = layer_profile(rows, context.network, "output_grad")
    if not weights.long_enough and not outputs.long_enough:
        n = max(weights.n_layers, outputs.n_layers)
        return NotChecked(
            detector=ID,
            reason=f"needs at least {MIN_LAYERS} weight matrices with a gradient; found {n}",
        )
    if max(_late(weights, context), _late(outputs, context)) < MIN_SAMPLES:
        return NotChecked(
            detector=ID,
            reason=f"fewer than {MIN_SAMPLES} samples after step {context.warm_in}; train longer",
        )
    by_weight = _persisting(weights, _steep(weights, limits), context)
    if by_weight is not None:
        return _finding(weights, by_weight, context, limits)
    by_output = _persisting(outputs, outputs.slope >= limits["gain_limit"], context)
    if by_output is not None:
        return _finding(outputs, by_output, context, limits)
    return None


def _late(profile: Profile, context: RunContext) -> int:
    return int((profile.steps >= context.warm_in).sum()) if profile.long_enough else 0


def _steep(profile: Profile, limits: Limits) -> np.typing.NDArray[np.bool_]:
    slope, lost = profile.slope, -profile.drop
    short = (slope >= limits["slope_limit"]) & (lost >= limits["drop_limit"])
    total = slope * max(1, profile.n_layers - 1)
    long_drop = limits["long_drop"]
    deep = (slope >= limits["long_slope"]) & (total >= long_drop) & (lost >= long_drop)
    return short | deep


def _persisting(
    profile: Profile, condition: np.typing.NDArray[np.bool_], context: RunContext
) -> Persistence | None:
    if not profile.long_enough:
        return None
    return persistence(profile.steps, condition, start=context.warm_in)


def _finding(profile: Profile, held: Persistence, context: RunContext, limits: Limits) -> Candidate:
    usual = profile.usual(held.where)
    slope = median(np.abs(profile.slope[held.where]))
    lost = median(-profile.drop[held.where])
    first = profile.layers[_first_steep(usual, limits["slope_limit"])]
    weak = [
        layer
        for layer, bits in zip(profile.layers, usual, strict=True)
        if usual[-1] - bits >= limits["drop_limit"]
    ]
    size = Size.FAR if lost >= limits["drop_any_state"] else Size.CLEAR
    size = Size.TOTAL if lost >= limits["drop_error"] else size
    of_weights = profile.of_weights
    what = "the gradient" if of_weights else "the gradient of the layers' outputs"
    limit = limits["slope_limit" if of_weights else "gain_limit"]
    return Candidate(
        strength=statistical(size),
        message=f"{what} shrinks {times(slope)} per layer toward the input (limit "
        f"{times(limit)}): {first} gets {times(lost)} less than {profile.layers[-1]}",
        advice="Replace sigmoid or tanh by ReLU or GELU, use He or Xavier initialisation, and "
        "add normalisation or residual connections between the named layers.",
        layer=first,
        layers=tuple(dict.fromkeys([first, *weak])),
        first_step=held.first_step,
        last_step=held.last_step,
        value=slope,
        threshold=limit,
        unit="bits/layer",
        evidence={
            "lost_bits": lost,
            "n_layers": profile.n_layers,
            "n_samples": len(held.where),
            "state": context.progress.state,
            "query": example(
                "layers", "step, layer, parameter, grad_norm, update_ratio", where=MATRICES
            ),
        },
    )


def _first_steep(usual: FloatArray, slope: float) -> int:
    """The layer nearest the input whose window of three falls by more than the limit."""
    for index in range(usual.size - 2):
        if usual[index + 2] - usual[index] > 2 * slope:
            return index
    return 0


DETECTOR = Detector(
    id=ID,
    title="the gradient vanishes on its way to the first layers",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.GRADIENT, Need.LOSS),
    sql=SQL,
    parameters={
        "slope_limit": SLOPE_LIMIT,
        "drop_limit": DROP_LIMIT,
        "drop_any_state": DROP_ANY_STATE,
        "drop_error": DROP_ERROR,
        "gain_limit": GAIN_LIMIT,
        "long_slope": LONG_SLOPE,
        "long_drop": LONG_DROP,
    },
    advice="Use ReLU or GELU, He or Xavier initialisation, normalisation or residual connections.",
    source="arXiv:1502.01852, arXiv:1611.01232",
    judge=judge,
    # What makes the gradient small makes a step small at any rate.
    causes=(
        "layer_imbalance",
        "representation_collapse",
        "epsilon_domination",
        "learning_rate_too_low",
        "loss_not_decreasing",
    ),
    acts_by=(Mechanism.SMALL_GRADIENTS,),
    shown=Shown(
        low_is_worse=True,
        normal="Gradients of neighbouring layers differ by less than 2×, and not always in the "
        "same direction.",
    ),
)
