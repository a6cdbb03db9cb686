"""Gradients grow geometrically: over steps, over depth, or over time steps of a sequence.

Symptom: (a) the global norm jumps to 32 times its recent median, twice in ten samples, and the loss
leaves its starting level, half of the weights are replaced in a step, or values become non-finite;
(b) gradients of the layers' outputs grow 1.6× per layer toward the input while nothing is learned;
(c) the weights of a recurrent layer get 2^12 times the gradient of the others; (d) a loss with
negative values falls to 256 times the range of its first ten, faster and faster (or to 65536
times), and the norm has grown 32 times with it: a part of the loss has no lower bound.
Fix: lower the learning rate, clip at twice the run's median norm, or correct the initialisation;
check the sign of each part of a loss that runs away.
Not flagged: large constant norms (sum reduction, loss scaling: only ratios to the run's own median
count); norms that clipping holds; the first ten samples; spikes without effect; growth while the
network leaves a plateau.
Source: Pascanu et al., arXiv:1211.5063.
"""

from dataclasses import dataclass

import numpy as np

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Mechanism, Shown, Tier, Verdict
from telemetry.diagnose.evidence.grids import grids
from telemetry.diagnose.evidence.profiles import (
    Profile,
    gradient_profile,
    layer_profile,
    recurrent_excess,
)
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import excursion, persistence, sustained_width
from telemetry.diagnose.judgement.progress import SIGNED, signed_range
from telemetry.diagnose.judgement.robust import (
    FloatArray,
    IntArray,
    log2_positive,
    median,
    recent_medians,
)
from telemetry.diagnose.judgement.severity import Size, Strength, measured, statistical
from telemetry.diagnose.wording import example, number, times
from telemetry.store.sessions.rows import Rows

ID = "exploding_gradient"
DEPTH_UNIT = "bits/layer"
JUMP_LIMIT = 5.0  # bits over the median of the previous samples
JUMP_WINDOW = 50
JUMP_MIN_SAMPLES = 10
EFFECT_STEPS = 50
EFFECT_LOSS = 2.0  # times the starting level
EFFECT_UPDATE = 0.5
MOST_MATRICES = 0.5
GAIN_LIMIT = 0.65  # bits a layer toward the input; healthy at most 0.28, faults 1.05 to 2.5
RECURRENT_LIMIT = 12.0  # bits over the other matrices
RUNAWAY_LOSS = 256.0  # first ranges below zero; densities and critics that learn some 10 to 50
RUNAWAY_ANY = 65536.0  # first ranges, where it has come to rest: second moments have overflowed
RUNAWAY_PACE = 4.0  # the loss at the end over that in the middle: as a square, or faster
RUNAWAY_STEPS = 100
START_LOSS = 3.0  # times the naive level: exploded before the first step

SQL = """
SELECT
    'large_update_share' AS signal,
    l.step,
    CAST(0 AS BIGINT) AS id,
    AVG(CASE WHEN l.update_ratio >= $effect_update THEN 1.0 ELSE 0.0 END) AS value
FROM layers AS l
JOIN tensors AS t ON t.run = l.run AND t.tensor_id = l.param_id AND t.fan_in < t.n
WHERE l.run = $run
    AND l.update_ratio IS NOT NULL
GROUP BY l.step
UNION ALL
SELECT
    'gradient' AS signal,
    l.step,
    l.param_id AS id,
    l.grad_norm AS value
FROM layers AS l
JOIN (SELECT DISTINCT m.run FROM modules AS m WHERE m.role = 'recurrent') AS m ON m.run = l.run
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Growth:
    """One way in which gradients grow: over steps, over depth or over time."""

    strength: Strength
    message: str
    layer: str | None
    layers: tuple[str, ...]
    first_step: int
    last_step: int
    value: float
    threshold: float
    unit: str


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """The worst of four kinds of growth; the others are evidence."""
    growths = [
        growth
        for growth in (
            _over_depth(rows, context, limits),
            _over_time(rows, context, limits),
            _over_steps(rows, context, limits),
            _runs_away(context, limits),
        )
        if growth is not None
    ]
    if not growths:
        known = np.isfinite(_norms(context)[1]).sum()
        if known < JUMP_MIN_SAMPLES + 2:
            return NotChecked(
                detector=ID,
                reason=(
                    f"{known} samples of the gradient norm; at least 12 are needed to see a jump"
                ),
            )
        return None
    growths.sort(key=lambda growth: growth.first_step)
    return [_candidate(growth, growths, context) for growth in growths]


def _candidate(worst: _Growth, growths: list[_Growth], context: RunContext) -> Candidate:
    norms = _norms(context)[1]
    return Candidate(
        strength=worst.strength,
        message=worst.message,
        advice=f"Clip the gradient norm at {number(2 * median(norms[np.isfinite(norms)]))} "
        "(twice this run's median), lower the learning rate, and check the scale of the "
        "initial weights.",
        layer=worst.layer,
        layers=worst.layers,
        first_step=worst.first_step,
        last_step=worst.last_step,
        value=worst.value,
        threshold=worst.threshold,
        unit=worst.unit,
        evidence={
            "rules": [growth.message for growth in growths],
            "state": context.progress.state,
            "query": example("activations", "step, layer, rms", where="site = 'output_grad'")
            if worst.unit == DEPTH_UNIT
            else "select step, grad_norm_total, loss from steps order by step",
        },
    )


def _norms(context: RunContext) -> tuple[IntArray, FloatArray]:
    series = context.steps
    known = ~np.isnan(series.grad_norm_total) | series.has_flag_sampled
    return series.step[known], series.grad_norm_total[known]


def _over_steps(rows: Rows, context: RunContext, limits: Limits) -> _Growth | None:
    steps, norms = _norms(context)
    jumps = _jumps(norms, limit=limits["jump_limit"])
    held = persistence(steps, jumps >= limits["jump_limit"], k=2, n=10, lasting_share=0.0)
    if held is None:
        return None
    effect = _effect(context, held.first_step) or _replaced(rows, held.first_step, limits)
    if effect is None or not context.progress.measurable:
        return None
    value = float(np.nanmax(jumps[held.where]))
    broken = not np.isfinite(context.losses[-1:]).all()
    harmless = Size.SLIGHT if context.recovered else Size.CLEAR
    return _Growth(
        strength=measured(Size.TOTAL if broken else harmless),
        message=f"gradient norm {2 ** min(value, 60):.0f}× its recent median at step "
        f"{held.first_step} (limit {2 ** limits['jump_limit']:.0f}×) {effect}",
        layer=None,
        layers=(),
        first_step=held.first_step,
        last_step=held.last_step,
        value=value,
        threshold=limits["jump_limit"],
        unit="bits",
    )


def _runs_away(context: RunContext, limits: Limits) -> _Growth | None:
    """A loss without a lower bound: what rewards large outputs grows by its own gradient."""
    losses = context.losses
    told = context.progress.reason in {SIGNED, ""} and (losses < 0).any()
    if not told or losses.size < RUNAWAY_STEPS or not np.isfinite(losses).all():
        return None
    width, half = losses.size // 10, losses.size // 2
    spread, end = signed_range(losses), median(losses[-width:])
    middle = min(0.0, median(losses[half - width : half]))
    norms = _norms(context)[1]
    norms = norms[np.isfinite(norms)]
    part = norms.size // 10
    limit = RUNAWAY_LOSS if end <= RUNAWAY_PACE * middle else RUNAWAY_ANY
    if part < 1 or not -end >= limit * spread > 0:
        return None
    bits = float(np.log2(median(norms[-part:]) / median(norms[:part])))
    if not bits >= limits["jump_limit"]:
        return None
    return _Growth(
        strength=measured(),
        message=f"the loss keeps falling to {number(end)}, {number(-end / spread)}× the range "
        f"of its first values, and the gradient norm has grown {number(2**bits)}× "
        f"with it (limit {2 ** limits['jump_limit']:.0f}×): part of the loss has no "
        "lower bound; is its sign right?",
        layer=None,
        layers=(),
        first_step=int(context.loss_steps[np.argmax(losses < -spread)]),
        last_step=int(context.loss_steps[-1]),
        value=bits,
        threshold=limits["jump_limit"],
        unit="bits",
    )


def _jumps(norms: FloatArray, *, limit: float) -> FloatArray:
    """log2 of each norm over the median of the 50 before it; NaN where that is no jump."""
    logs = log2_positive(norms)
    recent = recent_medians(logs, width=JUMP_WINDOW, at_least=JUMP_MIN_SAMPLES, rise=limit / 2)
    return logs - recent


def _effect(context: RunContext, step: int) -> str | None:
    """What the loss did within 50 steps of a jump."""
    near = (context.loss_steps >= step) & (context.loss_steps <= step + EFFECT_STEPS)
    losses = context.losses[near]
    if not np.isfinite(losses).all():
        return "and the loss became non-finite"
    reference = max(context.loss_reference, context.progress.start)
    found = excursion(losses, reference, width=sustained_width(context.batch_size))
    if found is None or found[0] < EFFECT_LOSS:
        return None
    return f"and the loss reached {number(found[0])}× its start"


def _replaced(rows: Rows, step: int, limits: Limits) -> str | None:
    """Whether most matrices changed by half of their norm in one of the 50 steps after a jump."""
    shares = grids(rows)["large_update_share"]
    near = (shares.steps >= step) & (shares.steps <= step + EFFECT_STEPS)
    if not (shares.values[near] >= MOST_MATRICES).any():
        return None
    return f"and most matrices changed by {limits['effect_update']:.0%} of their norm in a step"


def _over_depth(rows: Rows, context: RunContext, limits: Limits) -> _Growth | None:
    profile = layer_profile(rows, context.network, "output_grad")
    if not profile.long_enough:
        return None
    growing = -profile.slope >= limits["gain_limit"]
    if growing[0] and _exploded_at_start(context):
        where = np.flatnonzero(growing[:1])
        return _depth_growth(profile, where, int(profile.steps[0]), limits)
    held = persistence(profile.steps, growing, start=context.warm_in)
    if held is None:
        return None
    return _depth_growth(profile, held.where, held.first_step, limits)


def _depth_growth(profile: Profile, where: IntArray, first_step: int, limits: Limits) -> _Growth:
    gain = median(-profile.slope[where])
    usual = profile.usual(where)
    worst = int(np.nanargmax(usual))
    return _Growth(
        strength=statistical(),
        message=f"the gradient grows {times(gain)} per layer toward the input (limit "
        f"{times(limits['gain_limit'])}): {profile.layers[worst]} gets "
        f"{times(usual[worst] - usual[-1])} the gradient of {profile.layers[-1]}",
        layer=profile.layers[worst],
        layers=(profile.layers[worst],),
        first_step=first_step,
        last_step=int(profile.steps[where[-1]]),
        value=gain,
        threshold=limits["gain_limit"],
        unit=DEPTH_UNIT,
    )


def _exploded_at_start(context: RunContext) -> bool:
    naive = context.baseline.naive
    return naive is not None and not context.first_loss < START_LOSS * naive


def _over_time(rows: Rows, context: RunContext, limits: Limits) -> _Growth | None:
    profile = gradient_profile(rows, context.network)
    excess, layer = recurrent_excess(profile, context.network)
    held = persistence(profile.steps, excess >= limits["recurrent_limit"])
    if held is None:
        return None
    value = median(excess[held.where])
    return _Growth(
        strength=statistical(),
        message=f"{layer} gets {times(value)} the gradient of the layers outside the recurrence "
        f"(limit {times(limits['recurrent_limit'])}): it grows over time steps",
        layer=layer,
        layers=(layer,),
        first_step=held.first_step,
        last_step=held.last_step,
        value=value,
        threshold=limits["recurrent_limit"],
        unit="bits",
    )


DETECTOR = Detector(
    id=ID,
    title="gradients grow geometrically over steps, depth or time",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.GRADIENT, Need.LOSS),
    sql=SQL,
    parameters={
        "jump_limit": JUMP_LIMIT,
        "gain_limit": GAIN_LIMIT,
        "recurrent_limit": RECURRENT_LIMIT,
        "effect_update": EFFECT_UPDATE,
    },
    advice="Lower the learning rate, clip at twice the median norm, and fix the initialisation.",
    source="arXiv:1211.5063",
    judge=judge,
    causes=(
        "loss_spike",
        "adam_second_moment",
        "clip_saturation",
        "loss_scaler",
        "non_finite",
        "dead_units",
        "vanishing_through_time",
        "output_logits",
    ),
    acts_by=(Mechanism.GROWTH,),
    shown=Shown(
        normal="The norm stays within a few times its own recent median, whatever its level.",
    ),
)
