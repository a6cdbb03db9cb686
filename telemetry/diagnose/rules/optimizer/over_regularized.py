"""Weight decay, dropout or a term of the loss overpowers what the data say.

Symptom: (1) the decay part of the update is as large as the gradient part in the median weight
matrix, sample after sample, and the weights have lost two fifths of their largest norm; or they are
down to an eighth; while the loss does not fall, or stays high although larger weights would lower
it; a loss that has lost a quarter of its fall again, beyond its noise, needs the decay and weights
that shrink at all, and so does decay of eight times a gradient that is still there, in a run that
fails or has not converged. (2) Dropout keeps a fifth of the units or less, or a twentieth of the
paths through several such layers, and the loss does not fall; a fifth or less is reported from the
twentieth loss on, also where the loss is too noisy to show a fall, and where little was gained and
the loss no longer falls. (3) Of a loss that is a sum, the terms that read no target (a divergence,
a penalty) were a tenth or more of what the data have to give and have fallen to a tenth of that,
while the terms that read targets are no better than the best constant answer.
Fix: divide the weight decay by ten and leave biases and gains of norms out of it; a dropout of 0.5;
a smaller factor before the divergence or penalty.
Not flagged: decay in balance with the gradient at the end of a run that has learned, which is where
it leads by design; weights of normalised layers that shrink without harm; noise that no weights
could fit; dropout in a run that learns, and of the inputs; embeddings and adapters beside matrices;
a divergence that grows with what was learned; functional dropout, which shows in nothing.
Information: decay in a run that learns, whose loss larger weights would lower a little.
Source: Loshchilov and Hutter, arXiv:1711.05101; Kosson et al., arXiv:2305.17212.
"""

import math

import numpy as np

from telemetry.diagnose.analyses.loss_parts import outweighed
from telemetry.diagnose.analyses.weight_decay import Decay, decay_of
from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.context import Need, RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.evidence.grids import Grid, grids
from telemetry.diagnose.evidence.network import Parameter
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import PERSISTENT_K
from telemetry.diagnose.judgement.harm import LITTLE_SHARE, NOTHING_SHARE, Harm
from telemetry.diagnose.judgement.progress import MIN_LOSSES, SIGNED, State
from telemetry.diagnose.judgement.robust import MEDIAN_INEFFICIENCY, median
from telemetry.diagnose.judgement.severity import Size, measured
from telemetry.diagnose.wording import example, number, of_parameters
from telemetry.json_values import json_number, json_objects, parsed_object
from telemetry.store.sessions.rows import Rows

ID = "over_regularized"
DECAY_LIMIT = 0.9  # decay over gradient part; runs that learn at most 0.48, that are held back 0.9
COLLAPSED_BITS = 3.0  # an eighth
VANISHED_BITS = 8.0  # nothing is left of the initialisation
LOST_SHARE = 0.25  # of its fall, that the loss has lost again ...
LOST_ERRORS = 5.0  # ... in standard errors; both together in no run that learns (measured on 480)
GAIN_LIMIT = 1.0  # relative fall of the loss for a relative growth of the weights: the loss would
# fall in proportion at least; healthy 0.4 to 0.6, held back from 1.7
GAIN_COLLAPSED = 0.25  # where weights have collapsed; 0.6 in runs that are held back
DROPOUT_LIMIT = 0.8  # of the units; at 0.95 a narrow network learns nothing, a wide one does
HEAVY_DROPOUT = 0.5  # layers that count for the paths
PATHS_SHARE = 0.05  # of the paths are kept
MIN_STEPS = 100  # as for a loss that does not fall

SQL = """
SELECT
    'decay' AS signal, p.step, p.param_id AS id, p.decay_ratio AS value, '' AS name, '' AS settings,
    NULL AS targets, NULL AS free, NULL AS constant
FROM tensor_points AS p
WHERE p.run = $run AND p.kind = 'update' AND p.decay_ratio IS NOT NULL
UNION ALL
SELECT
    'norm' AS signal, l.step, l.param_id AS id, l.weight_norm AS value, '' AS name, '' AS settings,
    NULL, NULL, NULL
FROM layers AS l
WHERE l.run = $run
    AND l.weight_norm IS NOT NULL
    AND COALESCE(l.nonfinite, 0) = 0
UNION ALL
SELECT
    'gain' AS signal, l.step, l.param_id AS id, l.weight_norm * l.grad_norm AS value, '' AS name,
    '' AS settings, NULL, NULL, NULL
FROM layers AS l
WHERE l.run = $run
    AND l.grad_norm IS NOT NULL
    AND COALESCE(l.nonfinite, 0) = 0
UNION ALL
SELECT
    'dropout' AS signal, m.depth AS step, m.module_id AS id, 0.0 AS value, m.path AS name,
    m.attributes AS settings, NULL, NULL, NULL
FROM modules AS m
WHERE m.run = $run AND m.type LIKE '%Dropout%' AND m.depth IS NOT NULL
UNION ALL
SELECT
    'optimizer' AS signal, e.step, 0 AS id, 0.0 AS value, '' AS name, e.payload AS settings,
    NULL, NULL, NULL
FROM events AS e
WHERE e.run = $run AND e.kind = 'optimizer'
UNION ALL
SELECT
    'terms', g.step, g.call, 0.0, '', '', g.target_part, g.free_part, g.target_part_constant
FROM loss_graphs AS g
WHERE g.run = $run AND g.n_terms > 1 AND COALESCE(g.pair, 0) = 0
ORDER BY signal, step, id
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Terms of the loss, then decay, then dropout, which needs no samples: it is a setting."""
    outweighing = outweighed(rows.part("signal", "terms"), context)
    if outweighing is not None:
        return outweighing
    dropped = _of_dropout(rows, context, limits) if context.losses.size >= MIN_LOSSES else None
    found = grids(rows)
    # A factorisation has nothing but tables.
    judged = context.network.matrices or context.network.tables
    matrices = [m for m in judged if m.id in found["norm"].seen()]
    norms = found["norm"].columns([m.id for m in matrices])
    is_late = bool((norms.steps >= context.warm_in).any())
    is_seen = bool(matrices) and is_late and norms.steps.size >= PERSISTENT_K
    if is_seen and not _gets_none(found["gain"]):
        decay = decay_of(
            found,
            matrices,
            context,
            limit=limits["decay_limit"],
            collapsed_bits=limits["collapsed_bits"],
        )
        size = _size(decay, context, limits)
        if size is not None:
            return _of_decay(decay, size, matrices, _setting(rows), context, limits)
    if dropped is None and not is_seen:
        return NotChecked(
            detector=ID,
            reason=f"{norms.steps.size} samples of weight matrices; at least {PERSISTENT_K} are "
            f"needed, one of them after step {context.warm_in}",
        )
    return dropped


def _gets_none(gains: Grid) -> bool:
    """Every gradient is exactly zero: then decay is all that there can be of an update."""
    return bool(gains.values.size) and not (gains.values > 0).any()


def _is_signed(context: RunContext) -> bool:
    return bool((context.losses < 0).any())


def _size(decay: Decay, context: RunContext, limits: Limits) -> Size | None:
    progress = context.progress
    collapsed = median(decay.lost) >= limits["collapsed_bits"]
    lost = _is_judged(context) and _lost(context)
    if not (decay.is_strong or collapsed or decay.crushes or (lost and decay.shrinks)):
        return None
    if context.recovered or not np.isfinite(progress.end):
        return None
    gone = bool(np.nanmin(decay.lost) >= VANISHED_BITS)
    if progress.failing:
        return Size.FAR if gone else Size.CLEAR
    crushes = decay.crushes and _is_judged(context) and progress.state is not State.CONVERGED
    if lost or crushes or (progress.measurable and gone):
        return Size.CLEAR
    if _is_judged(context) and decay.is_strong and decay.gain >= GAIN_COLLAPSED:
        return Size.CLEAR if collapsed or decay.gain >= GAIN_LIMIT else Size.SLIGHT
    return None if progress.measurable else Size.SLIGHT


def _is_judged(context: RunContext) -> bool:
    """The loss tells whether the run became worse: one with negative values does, too."""
    return context.progress.measurable or context.progress.reason in {SIGNED, ""}


def _lost(context: RunContext) -> bool:
    """A quarter of what the loss has fallen is lost again, beyond its noise."""
    best, progress = _best(context), context.progress
    width = _width(context)
    error = MEDIAN_INEFFICIENCY * progress.noise * math.sqrt(2 / width)
    fall, rise = progress.start - best, progress.end - best
    return min(fall, rise) >= LOST_ERRORS * error and rise >= LOST_SHARE * fall


def _best(context: RunContext) -> float:
    """Lowest median of a twentieth of the losses; NaN for a few."""
    losses, width = context.losses, _width(context)
    if losses.size < 2 * width:
        return math.nan
    windows = np.lib.stride_tricks.sliding_window_view(losses, width)
    return float(np.median(windows, axis=1).min())


def _width(context: RunContext) -> int:
    return max(3, context.losses.size // 20)


def _of_decay(
    decay: Decay,
    size: Size,
    matrices: list[Parameter],
    setting: float,
    context: RunContext,
    limits: Limits,
) -> Candidate:
    lost = median(decay.lost)
    left = f"the weights have shrunk to {number(100 * 2.0 ** (-lost))} % of their largest norm"
    order = np.argsort(-np.nan_to_num(decay.lost), kind="stable")
    layers = tuple(dict.fromkeys(matrices[place].layer for place in order))
    strong = decay.shrinks or decay.crushes
    factor = 100 if lost >= VANISHED_BITS else 10
    return Candidate(
        strength=measured(size),
        message=f"weight decay is {number(decay.ratio)} times the gradient part of the update "
        f"(limit {number(limits['decay_limit'])}), and {left}"
        if strong
        else f"{left} (limit {number(100 * 2.0 ** -limits['collapsed_bits'])} %)",
        advice=_advice(setting, factor),
        layer=layers[0],
        layers=layers[:10],
        first_step=decay.first_step,
        last_step=decay.last_step,
        earliest=decay.shrunk_step,
        value=decay.ratio if strong else lost,
        threshold=limits["decay_limit"] if strong else limits["collapsed_bits"],
        unit="decay/gradient" if strong else "bits",
        evidence={
            "lost_bits": lost,
            "weight_decay": setting,
            "state": context.progress.state,
            "query": of_parameters(
                "p.step, t.module as layer, t.name as parameter, p.decay_ratio",
                where="decay_ratio is not null",
            ),
        },
    )


def _advice(setting: float, factor: int) -> str:
    if not setting > 0:
        return (
            f"Divide whatever shrinks the weights by {factor}: the weight decay, or a penalty "
            "on the weights in the loss."
        )
    return (
        f"Divide weight_decay by {factor}, from {number(setting)} to "
        f"{number(setting / factor)}, and do not apply it to biases and to the gains of "
        "normalisation layers."
    )


def _setting(rows: Rows) -> float:
    groups = [
        group
        for text in rows.part("signal", "optimizer").texts("settings")
        for group in json_objects(parsed_object(text).get("groups"))
    ]
    settings = [json_number(group.get("weight_decay")) for group in groups]
    return max((one for one in settings if one is not None), default=0.0)


def _of_dropout(rows: Rows, context: RunContext, limits: Limits) -> Candidate | None:
    shares = _hidden_dropout(rows, context)
    if not shares:
        return None
    worst = max(shares, key=lambda path: shares[path])
    paths = math.prod(1 - share for share in shares.values() if share >= HEAVY_DROPOUT)
    is_heavy = shares[worst] >= limits["dropout_limit"]
    many = paths <= PATHS_SHARE and context.n_steps >= MIN_STEPS and context.reach.fails
    if not (many or (is_heavy and _gained_little(context))):
        return None
    heavy = [path for path, share in shares.items() if share >= HEAVY_DROPOUT]
    return Candidate(
        strength=measured(),
        message=f"dropout removes {shares[worst]:.0%} of the units at {worst} and leaves "
        f"{number(100 * paths)} % of the paths through the network; the loss stays at "
        f"{number(context.progress.end)}",
        advice=f"Set p to 0.5 or less (it is {number(shares[worst])}), and raise it once the loss "
        "falls.",
        layer=worst,
        layers=tuple(sorted(heavy, key=lambda path: -shares[path])),
        first_step=0,
        last_step=int(context.steps.step[-1]),
        value=shares[worst],
        threshold=limits["dropout_limit"],
        unit="share",
        evidence={
            "paths_share": paths,
            "state": context.progress.state,
            "query": example("steps", "step, loss"),
        },
    )


def _hidden_dropout(rows: Rows, context: RunContext) -> dict[str, float]:
    """Share of the units that each dropout after the first weight matrix takes, by path."""
    first = min((m.depth for m in context.network.matrices), default=0)
    told = rows.part("signal", "dropout")
    places = zip(told.texts("name"), told.texts("settings"), told.floats("step"), strict=True)
    found = {p: json_number(parsed_object(text).get("p")) for p, text, d in places if d > first}
    return {path: share for path, share in found.items() if share is not None}


def _gained_little(context: RunContext) -> bool:
    """Little was gained, or nothing that was recorded shows that the run learns."""
    if context.reach.fails or context.reach.harm is Harm.LITTLE:
        return True
    progress = context.progress
    noisy = progress.state is State.UNKNOWN and progress.measurable
    stays = not progress.falls or context.reach.gained < NOTHING_SHARE
    return noisy and stays and not context.reach.evaluated >= LITTLE_SHARE


DETECTOR = Detector(
    id=ID,
    title="weight decay, dropout or a term of the loss overpowers the data",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(Need.LOSS,),
    sql=SQL,
    parameters={
        "decay_limit": DECAY_LIMIT,
        "collapsed_bits": COLLAPSED_BITS,
        "dropout_limit": DROPOUT_LIMIT,
    },
    advice="Divide the weight decay or the factor of the term by ten; set dropout to at most 0.5.",
    source="arXiv:1711.05101, arXiv:2305.17212",
    judge=judge,
    # A decay that outweighs the gradient makes large steps, and uphill ones; dropout makes
    # the first loss high.
    causes=(
        "constant_predictor",
        "exploding_gradient",
        "poor_initialization",
        "dead_units",
        "vanishing_gradient",
        "vanishing_through_time",
        "representation_collapse",
        "learning_rate_too_high",
        "update_ratio",
        "gradient_ascent",
        "learning_rate_too_low",
        "loss_not_decreasing",
    ),
    shown=Shown(
        unit="decay/gradient",
        normal=(
            "Weight decay is at most half of the gradient part until the run has learned what "
            "it can."
        ),
    ),
)
