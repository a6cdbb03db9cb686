"""Adam's epsilon, not the second moment, sets the size of the step.

Symptom: half of the elements of the weight matrices have a root of the second moment below epsilon
in three of five samples, in a run that does not learn: those take the step of SGD at lr / epsilon
times the gradient, which is small. Where the second moment is not recorded (RMSprop, Adagrad,
Adamax), gradients whose root mean square is below an epsilon that is not the default show the same.
A run that learns is warned of such an epsilon where it shortens steps 16 times, or 4 times while
the loss falls to the last, and they move matrices by less than 2^-10 of their norm.
Fix: lower epsilon below the usual root of the second moment, or scale the loss up: a mean over too
many dimensions makes gradients small.
Not flagged: a large epsilon in a run that learns by usual steps (information), for some recipes
choose 1e-3 and a rate that fits it; runs that have converged, whose gradients end small; elements
without any gradient, as unseen rows.
Source: Wortsman et al., arXiv:2309.14322.
"""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from telemetry.diagnose.candidate import Candidate
from telemetry.diagnose.causes import cause_graph
from telemetry.diagnose.context import RunContext
from telemetry.diagnose.detector import Detector, Limits, Shown, Tier, Verdict
from telemetry.diagnose.finding import NotChecked, Severity
from telemetry.diagnose.judgement.gates import Persistence, persistence
from telemetry.diagnose.judgement.progress import State
from telemetry.diagnose.judgement.robust import BoolArray, FloatArray, IntArray, median
from telemetry.diagnose.judgement.severity import measured, statistical
from telemetry.diagnose.wording import number, of_parameters
from telemetry.store.sessions.rows import Rows

ID = "epsilon_domination"
BELOW_SHARE = 0.5  # of the elements; defaults 0.001, 0.82 where epsilon slows a run fourfold
MIN_SAMPLES = 3
CHOSEN = 1e-4  # defaults are 1e-10 to 1e-6: whoever sets more has brought this about
SHORTENED = 16.0  # times, by epsilon: beyond the range of usual rates
STILL_FALLS = (
    4.0  # times, where the loss falls to the last: longer steps would have brought it down
)
USUAL_STEP = 2.0**-10  # of the norm of a matrix: the least of what usual rates give
CLIPPED = 0.01  # of the gradient is left: what is below epsilon then was not before
FULL_RATE = 0.5  # of the largest learning rate: later steps are meant to be small

SQL = """
SELECT
    p.kind, p.step, t.module AS layer, p.param_id, p.n_below_eps,
    p.n_sampled - p.n_zero AS n_alive,
    CASE WHEN p.n_sampled > 0 THEN p.sum / p.n_sampled END AS value  -- mean square
FROM tensor_points AS p
JOIN tensors AS t ON t.run = p.run AND t.tensor_id = p.param_id
WHERE p.run = $run AND p.kind = 'optimizer_state' AND p.n_below_eps IS NOT NULL
UNION ALL
-- Gradients as the optimizer saw them: clipped, without loss scale.
SELECT
    p.kind, p.step, t.module AS layer, p.param_id, 0 AS n_below_eps, p.n AS n_alive,
    p.sumsq / p.n / CASE WHEN p.provenance = 'raw' THEN p.scale * p.scale ELSE 1 END AS value
FROM tensor_points AS p
JOIN tensors AS t ON t.run = p.run AND t.tensor_id = p.param_id
WHERE p.run = $run AND p.kind = 'gradient' AND p.sumsq > 0 AND t.lr_group IS NOT NULL
    AND (p.scale > 0 OR p.provenance = 'clipped')
UNION ALL
SELECT
    'update' AS kind, l.step, l.layer, l.param_id, 0 AS n_below_eps, 0 AS n_alive,
    MAX(l.update_ratio) AS value
FROM layers AS l
WHERE l.run = $run AND l.update_ratio IS NOT NULL
GROUP BY l.step, l.layer, l.param_id
UNION ALL
SELECT
    'clip' AS kind, s.step, '' AS layer, 0 AS param_id, 0 AS n_below_eps, 0 AS n_alive,
    MAX(s.clip_coefficient) AS value
FROM steps AS s
WHERE s.run = $run AND s.clip_coefficient IS NOT NULL
GROUP BY s.step
ORDER BY 2, 3, 4
"""


def judge(rows: Rows, context: RunContext, limits: Limits) -> Verdict:
    """Share of the elements of all weight matrices together whose step epsilon sets."""
    moments = rows.part("kind", "optimizer_state")
    if not len(moments) and _is_chosen(context) and context.is_adaptive:
        moments = _from_gradients(rows.part("kind", "gradient"), context)
    steps, below, alive = _per_sample(moments, context)
    if int((steps >= context.warm_in).sum()) < MIN_SAMPLES:
        return NotChecked(
            detector=ID,
            reason=f"fewer than {MIN_SAMPLES} samples of the second moment of weight matrices "
            f"after step {context.warm_in}; it is recorded for optimizers of the Adam "
            "family",
        )
    if context.progress.state is State.CONVERGED:
        return None
    share = below / np.fmax(1.0, alive)
    held = persistence(steps, share >= limits["below_share"], start=context.warm_in)
    if held is None:
        return None
    found = _finding(moments, held, share, context, limits)
    clip = median(rows.part("kind", "clip").floats("value"))
    if clip < CLIPPED and not _is_chosen(context):
        found = replace(
            found,
            message=f"{found.message}, because clipping leaves only {number(clip)} of the gradient",
            advice="Raise max_norm of the clipping: 1 is usual, and the median norm of the run, "
            "which clip_saturation reports, does no harm.",
        )
    usual = _usual_root(moments, held, context)
    if _slows(usual, rows, context):
        return replace(found, strength=measured(found.strength.size))
    return found


def _slows(usual_root: float, rows: Rows, context: RunContext) -> bool:
    """A chosen epsilon makes the steps of the run many times shorter, and unusually small."""
    epsilon = min((optimizer.epsilon for optimizer in context.optimizers), default=0.0)
    progress = context.progress
    is_slow = progress.state is State.LEARNING and not progress.flat
    limit = STILL_FALLS if is_slow else SHORTENED
    if not _is_chosen(context) or not epsilon >= limit * usual_root:
        return False
    updates = rows.part("kind", "update")
    steps = updates.ints("step")
    rates = context.steps.lr[np.searchsorted(context.steps.step, steps)]
    full = rates >= FULL_RATE * np.nanmax(context.steps.lr)
    kept = full & (steps >= context.warm_in) & _of_matrices(updates, context)
    return median(updates.floats("value")[kept]) < USUAL_STEP


def _from_gradients(gradients: Rows, context: RunContext) -> Rows:
    """Gradients as second moments: all elements of a matrix are below epsilon, or none is.

    Adagrad divides by the root of the sum of all squares: that of t gradients is sqrt(t) times one.
    """
    epsilon = min(optimizer.epsilon for optimizer in context.optimizers)
    steps = gradients.floats("step")
    squares = gradients.floats("value") * (steps + 1 if context.shrinks_steps else 1.0)
    n = gradients.floats("n_alive")
    table = gradients.arrow
    for name, values in (
        ("n_below_eps", np.where(squares < epsilon**2, n, 0.0)),
        ("value", squares),
    ):
        table = table.set_column(table.schema.get_field_index(name), name, pa.array(values))
    return Rows(table)


def _per_sample(rows: Rows, context: RunContext) -> tuple[IntArray, FloatArray, FloatArray]:
    """Sampled steps, and of all matrices the elements below epsilon and those with a moment."""
    kept = _of_matrices(rows, context)
    steps, place = np.unique(rows.ints("step")[kept], return_inverse=True)
    below = np.bincount(place, rows.floats("n_below_eps")[kept], minlength=steps.size)
    alive = np.bincount(place, rows.floats("n_alive")[kept], minlength=steps.size)
    return steps, below.astype(np.float64), alive.astype(np.float64)


def _of_matrices(rows: Rows, context: RunContext) -> BoolArray:
    matrices = [matrix.id for matrix in context.network.matrices]
    return np.isin(rows.ints("param_id"), np.array(matrices, dtype=np.int64))


def _late(rows: Rows, held: Persistence, context: RunContext) -> BoolArray:
    return _of_matrices(rows, context) & (rows.ints("step") >= held.first_step)


def _usual_root(rows: Rows, held: Persistence, context: RunContext) -> float:
    """Median over matrices and samples of the root of their mean second moment."""
    roots = np.sqrt(rows.floats("value")[_late(rows, held, context)])
    return float(np.nanmedian(roots[roots > 0])) if (roots > 0).any() else 0.0


def _finding(
    rows: Rows, held: Persistence, share: FloatArray, context: RunContext, limits: Limits
) -> Candidate:
    value = float(np.median(share[held.where]))
    usual = _usual_root(rows, held, context)
    layers = _worst_layers(rows, _late(rows, held, context), limit=limits["below_share"])
    return Candidate(
        strength=statistical(),
        message=f"epsilon determines the step of {value:.0%} of the weight matrices' elements "
        f"(limit {limits['below_share']:.0%}); the root of the second moment is usually "
        f"{number(usual)}",
        advice=f"Set the optimizer's eps to {number(usual / 100)} or less, or scale the loss "
        "up: check that it is not averaged over too many dimensions.",
        layer=layers[0],
        layers=layers,
        first_step=held.first_step,
        last_step=held.last_step,
        value=value,
        threshold=limits["below_share"],
        unit="share",
        evidence={
            "usual_root": usual,
            "state": context.progress.state,
            "query": _query(rows, context),
        },
        rules_out=cause_graph().ancestors(ID) if _is_chosen(context) else frozenset(),
    )


def _query(rows: Rows, context: RunContext) -> str:
    """The share of the elements below epsilon; without second moments, that of gradients."""
    if len(rows.part("kind", "optimizer_state")):
        return of_parameters(
            "p.step, t.module as layer, t.name as parameter, 1.0 * p.n_below_eps / "
            "nullif(p.n_sampled - p.n_zero, 0) as below_share",
            where="n_below_eps is not null",
        )
    root = f"sqrt(p.sumsq / p.n{' * (p.step + 1)' if context.shrinks_steps else ''})"
    epsilon = min(optimizer.epsilon for optimizer in context.optimizers)
    return of_parameters(
        f"p.step, t.module as layer, t.name as parameter, case when {root} < {epsilon:g} then 1.0 "
        f"else 0.0 end as below_share, {root} as root",
        where="kind = 'gradient'",
    )


def _is_chosen(context: RunContext) -> bool:
    """Epsilon is far above every default: it dominates whatever made the gradients small."""
    return max((optimizer.epsilon for optimizer in context.optimizers), default=0.0) >= CHOSEN


def _worst_layers(rows: Rows, kept: BoolArray, *, limit: float) -> tuple[str, ...]:
    """Layers in which epsilon sets most steps, the worst first."""
    codes, names = rows.codes("layer")
    below = np.bincount(codes[kept], rows.floats("n_below_eps")[kept], minlength=len(names))
    alive = np.bincount(codes[kept], rows.floats("n_alive")[kept], minlength=len(names))
    share = below / np.fmax(1.0, alive)
    order = sorted(np.flatnonzero(share >= limit), key=lambda place: -share[place])
    return tuple(names[place] for place in order) or (names[int(np.argmax(share))],)


DETECTOR = Detector(
    id=ID,
    title="Adam's epsilon, not the gradient, determines the step size",
    tier=Tier.STATISTICAL,
    severity=Severity.WARNING,
    needs=(),
    sql=SQL,
    parameters={
        "below_share": BELOW_SHARE,
    },
    advice="Lower the optimizer's eps, or scale the loss up.",
    source="arXiv:2309.14322",
    judge=judge,
    # A network that is hardly moved keeps the short reach it starts with.
    causes=("learning_rate_too_low", "vanishing_through_time", "loss_not_decreasing"),
    shown=Shown(
        unit="share",
        normal="The root of the second moment is above epsilon for nearly every element.",
    ),
)
